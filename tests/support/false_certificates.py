"""Client certificates that ought to open nothing, by what is wrong with each: of foreign roots, and of the mesh's own
authority's key, as if it had been talked into them (RFC 5280, SPIFFE X.509-SVID)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_URI = x509.UniformResourceIdentifier
_DAY = datetime.timedelta(days=1)
_SIGNS = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
_LEAF = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
_PEM = serialization.Encoding.PEM
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issuer:
    """Who signs: a key, its certificate, and what is sent behind a leaf."""

    key: PrivateKey
    certificate: x509.Certificate
    behind: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """A leaf to be made. `start` and `end` are from now."""

    uris: Sequence[str]
    proxy: Sequence[str] = ("client.default",)
    more: Sequence[x509.GeneralName] = ()
    start: datetime.timedelta = -_DAY / 24
    end: datetime.timedelta = _DAY
    usage: x509.KeyUsage | None = _LEAF
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    constraints: x509.BasicConstraints = field(default_factory=lambda: x509.BasicConstraints(False, None))
    others: Sequence[x509.ExtensionType] = ()
    key: PrivateKey | None = None


def make(issuer: Issuer, wanted: Wanted) -> str:
    """Key and chain, PEM."""
    key = wanted.key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in wanted.proxy])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wanted.start)
        .not_valid_after(now + wanted.end)
        .add_extension(wanted.constraints, critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    names = [*wanted.more, *(_URI(uri) for uri in wanted.uris)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if wanted.usage is not None:
        builder = builder.add_extension(wanted.usage, critical=True)
    if wanted.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(wanted.purposes)), critical=False)
    for other in wanted.others:
        builder = builder.add_extension(other, critical=True)
    leaf = builder.sign(issuer.key, hashes.SHA256())
    chain = (leaf, issuer.certificate, *issuer.behind)
    return key_text(key) + "".join(one.public_bytes(_PEM).decode() for one in chain)


def key_text(key: PrivateKey) -> str:
    """A key, PEM."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(_PEM, form, serialization.NoEncryption()).decode()


def own_issuer(pem: str) -> Issuer:
    """The mesh's intermediate with its key, from its file."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    found = x509.load_pem_x509_certificates(pem.encode())
    return Issuer(key, found[0], tuple(found[1:]))


def false_root(subject: x509.Name, behind: tuple[x509.Certificate, ...] = ()) -> Issuer:
    """A root of that name with a key of its own; `behind` is sent after it."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_SIGNS, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issuer(key, certificate, behind)


def foreign(uri: str, root: x509.Certificate, own: Issuer, stolen: str) -> Mapping[str, str]:
    """Right in every name, signed by somebody else. `stolen` is a workload's key and chain, which signs."""
    good = Wanted([uri])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil root")])
    key = serialization.load_pem_private_key(stolen.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = x509.load_pem_x509_certificates(stolen.encode())
    ends = {"another root": false_root(name), "a root of the same name": false_root(root.subject)}
    ends["a root of the same name, ours behind it"] = false_root(root.subject, (root,))
    ends["our intermediate's name"] = false_root(own.certificate.subject)
    ends["our intermediate's name, ours behind it"] = false_root(own.certificate.subject, (own.certificate, root))
    ends["a workload's certificate as an authority"] = Issuer(key, chain[0], tuple(chain[1:]))
    found = {what: make(issuer, good) for what, issuer in ends.items()}
    mine = ec.generate_private_key(ec.SECP256R1())
    alone = Issuer(mine, false_root(name).certificate)
    found["signed by itself"] = make(alone, replace(good, key=mine))
    sub = make(false_root(name), replace(good, constraints=x509.BasicConstraints(True, 0), usage=_SIGNS))
    found["a foreign authority with the workload's name"] = sub
    return found


def malformed(uri: str, own: Issuer) -> Mapping[str, str]:
    """Signed with the mesh's own key, and such as it never makes."""
    good = Wanted([uri])
    other = uri.replace("cluster.local", "other.example")
    critical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    wanted = {
        "expired": replace(good, end=-_DAY / 48),
        "not yet valid": replace(good, start=_DAY / 2),
        "no name": replace(good, uris=[]),
        "DNS name only": replace(good, uris=[], more=[x509.DNSName("client.default")]),
        "another trust domain": replace(good, uris=[other]),
        "trust domain with a dot": replace(good, uris=[uri.replace("cluster.local", "cluster.local.")]),
        "trust domain as a beginning": replace(good, uris=[uri.replace("cluster.local", "cluster.localx")]),
        "HTTPS name": replace(good, uris=[uri.replace("spiffe:", "https:")]),
        "domain only": replace(good, uris=["spiffe://"]),
        "an unknown critical extension": replace(good, others=[critical]),
        "for signing code": replace(good, purposes=[ExtendedKeyUsageOID.CODE_SIGNING]),
    }
    return {what: make(own, one) for what, one in wanted.items()}


def unregistered(uri: str, own: Issuer) -> Mapping[str, str]:
    """Well-formed for TLS, and of nobody whom the control plane knows: refused by xDS and the agent API."""
    place = uri.rpartition("/")[0]
    good = Wanted([uri])
    wanted = {
        "two names": replace(good, uris=[uri, f"{uri}2"]),
        "another domain's name first": replace(good, uris=[uri.replace("cluster.local", "other.example"), uri]),
        "another domain's name behind": replace(good, uris=[uri, uri.replace("cluster.local", "other.example")]),
        "wildcard": replace(good, uris=[f"{place}/*"]),
        "NUL": replace(good, uris=[f"{uri}\0.evil"]),
        "case": replace(good, uris=[uri.upper().replace("SPIFFE", "spiffe")]),
        "slash": replace(good, uris=[f"{uri}/"]),
        "a longer path": replace(good, uris=[f"{uri}/x"]),
        "escaped": replace(good, uris=[uri.replace("/sa/", "/%73a/")]),
        "no account": replace(good, uris=[place]),
        "empty account": replace(good, uris=[f"{place}/"]),
        "query": replace(good, uris=[f"{uri}?x"]),
        "user": replace(good, uris=[uri.replace("spiffe://", "spiffe://u@")]),
        "port": replace(good, uris=[uri.replace("cluster.local", "cluster.local:1")]),
        "another account": replace(good, uris=[f"{place}/shop"]),
        "another namespace": replace(good, uris=[uri.replace("/ns/default", "/ns/other")]),
        "two common names": replace(good, proxy=["client.default", "shop.default"]),
        "no common name": replace(good, proxy=[]),
        "common name with NUL": replace(good, proxy=["client.default\0"]),
        "common name in capitals": replace(good, proxy=["CLIENT.default"]),
        "another's common name": replace(good, proxy=["shop.default"]),
        "unknown common name": replace(good, proxy=["nobody.default"]),
        "huge": replace(good, proxy=["nobody.default"], more=[x509.DNSName(f"{n}.example") for n in range(300)]),
        "terminal": replace(good, proxy=["\x1b[2Jroot"]),
    }
    return {what: make(own, one) for what, one in wanted.items()}
