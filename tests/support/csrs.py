"""Certificate signing requests that try to talk the CA into something, by what is wrong with each (RFC 2986)."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from weft.model.identity import SpiffeId

Named = Iterator[tuple[str, str]]
_URI = x509.UniformResourceIdentifier
_KEY = ec.generate_private_key(ec.SECP256R1())
_FLIPS = 60


def hostile_requests(identity: SpiffeId, proxy: str) -> dict[str, str]:
    """Requests that a CA has to refuse to the holder of `identity` and `proxy`, by what is wrong with each."""
    makers = (_names(identity), _subjects(proxy), _extensions(identity), _keys(), _forms(identity), _flips(identity))
    return {name: text for made in makers for name, text in made}


def signing_request(
    names: Iterable[x509.GeneralName] | None = None,
    subject: Iterable[tuple[x509.ObjectIdentifier, str]] = (),
    extensions: Iterable[x509.ExtensionType] = (),
    key: CertificateIssuerPrivateKeyTypes = _KEY,
) -> str:
    """A well-formed, signed request, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    without = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if without else hashes.SHA256()).public_bytes(_PEM).decode()


_PEM = serialization.Encoding.PEM


def _names(identity: SpiffeId) -> Named:
    own = str(identity)
    other = own.rpartition("/")[0]
    texts = [
        f"{other}/shop", f"{other}/", f"{other}/*", other, f"{own}/", f"{own}/x", f"{own}x", f"{own}.", f"{own}%00",
        f"{own}\0", f"{own}\0.evil", f"\0{own}", f" {own}", f"{own} ", f"{own}\n", f"{own}?a=b", f"{own}#a",
        own.upper(),
        own.replace("spiffe:", "SPIFFE:"), own.replace("spiffe:", "https:"), own.replace("spiffe://", "spiffe:///"),
        own.replace("spiffe://", "spiffe://user@"), own.replace(identity.trust_domain, "other.example"),
        own.replace(identity.trust_domain, f"{identity.trust_domain}."), own.replace("/ns/", "/ns//"),
        own.replace(identity.trust_domain, f"{identity.trust_domain}:443"), own.replace("/ns/", "/ns/../ns/"),
        own.replace("/ns/default", "/ns/istio-system"), own.replace("/ns/default", "/ns/%64efault"),
        own.replace("/ns/default", "/ns/*"), own.replace("/sa/", "/sa/a,"), f"{own},{other}/shop", "spiffe://",
        "", "*",
        f"spiffe://{identity.trust_domain}", "spiffe://cluster.local/ns/weft-system/sa/control-plane",
        own + "a" * 2000,
    ]  # fmt: skip
    for number, text in enumerate(texts):
        yield f"URI {number}: {text[:80]!r}", signing_request([_URI(text)])
    lists: dict[str, list[x509.GeneralName]] = {
        "none in the list": [],
        "twice its own": [_URI(own), _URI(own)],
        "its own and another": [_URI(own), _URI(f"{other}/shop")],
        "another and its own": [_URI(f"{other}/shop"), _URI(own)],
        "a hundred": [_URI(own)] * 100,
        "its own and DNS": [_URI(own), x509.DNSName("shop.default.svc.cluster.local")],
        "DNS wildcard": [x509.DNSName("*")],
        "DNS of the control plane": [x509.DNSName("localhost")],
        "DNS that looks like its URI": [x509.DNSName(own)],
        "mail": [x509.RFC822Name("client@cluster.local")],
        "registered id": [x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))],
        "other name": [x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a")],
        "directory name": [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client.default")]))],
    }
    for name, found in lists.items():
        yield f"names: {name}", signing_request(found)


def _subjects(proxy: str) -> Named:
    name = NameOID.COMMON_NAME
    for text in (
        "shop.default", f"{proxy}\0", f"{proxy}.", f" {proxy}", f"{proxy}\0.shop.default", proxy.upper(), "*",
        "*.default",
        "client", "client.other", "front.default", "control-plane.weft-system", "localhost", "\x1b[2Jroot",
        f"{proxy},CN=a",
    ):  # fmt: skip
        yield f"common name {text!r}", signing_request(None, [(name, text)])
    more = {
        "twice": [(name, proxy), (name, proxy)],
        "its own and another": [(name, proxy), (name, "shop.default")],
        "organisation": [(name, proxy), (NameOID.ORGANIZATION_NAME, "system:masters")],
        "serial number": [(name, proxy), (NameOID.SERIAL_NUMBER, "999.999")],
        "serial number alone": [(NameOID.SERIAL_NUMBER, "0.0")],
        "unit": [(NameOID.ORGANIZATIONAL_UNIT_NAME, proxy)],
        "mail": [(NameOID.EMAIL_ADDRESS, "a@b.example")],
        "domain": [(NameOID.DOMAIN_COMPONENT, "local")],
        "user": [(NameOID.USER_ID, "0")],
    }
    for what, subject in more.items():
        yield f"subject: {what}", signing_request(None, subject)


def _extensions(identity: SpiffeId) -> Named:
    signs = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    both = x509.KeyUsage(True, False, True, False, False, True, True, False, False)
    authority = [x509.BasicConstraints(ca=True, path_length=length) for length in (None, 0, 5)]
    for constraint in authority:
        yield f"CA with path length {constraint.path_length}", signing_request(extensions=[constraint])
    for number, usage in enumerate((signs, both)):
        yield f"key usage that signs certificates, {number}", signing_request(extensions=[usage])
        yield f"CA and key usage, {number}", signing_request([_URI(str(identity))], (), [authority[0], usage])


def _keys() -> Named:
    keys: dict[str, CertificateIssuerPrivateKeyTypes] = {
        "RSA 1024": rsa.generate_private_key(65537, 1024),
        "RSA 2048": rsa.generate_private_key(65537, 2048),
        "RSA with exponent 3": rsa.generate_private_key(3, 1024),
        "P-192": ec.generate_private_key(ec.SECP192R1()),
        "P-224": ec.generate_private_key(ec.SECP224R1()),
        "P-521": ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "Brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "Ed448": ed448.Ed448PrivateKey.generate(),
    }
    for name, key in keys.items():
        yield f"key {name}", signing_request(key=key)


def _forms(identity: SpiffeId) -> Named:
    good = signing_request([_URI(str(identity))])
    der = _der(good)
    point = der.index(b"\x03\x42\x00\x04") + 4
    changed = {
        "point off the curve": der[:point] + bytes(64) + der[point + 64 :],
        "unknown algorithm": der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f"), 1),
        "unknown curve": der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f"), 1),
        "another's key": der[:point] + _der(signing_request(key=ec.generate_private_key(ec.SECP256R1())))[-64:],
        "half of it": der[: len(der) // 2],
        "bytes behind it": der + b"\0",
        "nothing": b"",
        "a NULL": b"\x05\x00",
        "deep": b"\x30\x80" * 1000,
        "a length of 4 GiB": b"\x30\x84\xff\xff\xff\xff" + der,
    }
    for name, raw in changed.items():
        yield f"form: {name}", _pem(raw)
    label = "CERTIFICATE REQUEST"
    texts = {
        "empty": "", "blank": " \n", "two of them": good + good, "a certificate": good.replace(label, "CERTIFICATE"),
        "a key": good.replace(label, "PRIVATE KEY"), "no end": good.partition("-----END")[0],
        "DER": b64encode(der).decode(),
        "huge": good + "x" * 20_000, "huge in bytes": "é" * 5000, "NULs": "\0" * 100,
        "half a character": "\ud800" + good,
        "encrypted": good.replace("\n", "\nProc-Type: 4,ENCRYPTED\n", 1), "JSON": "{}", "path": "/etc/passwd",
    }  # fmt: skip
    for name, text in texts.items():
        yield f"form: {name}", text


def _flips(identity: SpiffeId) -> Named:
    """A good request with one byte of what is signed changed."""
    der = _der(signing_request([_URI(str(identity))]))
    signed = x509.load_der_x509_csr(der).tbs_certrequest_bytes
    begin = der.index(signed)
    for place in sorted(random.Random(8).sample(range(begin, begin + len(signed)), _FLIPS)):
        yield f"byte {place} flipped", _pem(der[:place] + bytes([der[place] ^ 1]) + der[place + 1 :])


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER)


def _pem(der: bytes) -> str:
    text = b64encode(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
