"""What others bring for the mesh's authority: what is accepted, and what is said of what is not."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.ca.authority import open_authority
from weft.ca.brought import Pem, build_brought
from weft.ca.install import brought_key, install_first, request_for_intermediate
from weft.ca.protocol import AuthorityError
from weft.ca.slots import Slots

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
ROOT, OTHER, UPPER, ISSUER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
URI = x509.UniformResourceIdentifier


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject: str, key: Any, issuer: str, signer: Any, *extensions: Any, **changes: Any) -> x509.Certificate:
    """A CA's certificate; `changes` are ca, path_length, begin, end, hash."""
    basic = x509.BasicConstraints(changes.get("ca", True), changes.get("path_length"))
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(changes.get("begin", NOW - DAY)).not_valid_after(
        changes.get("end", NOW + 90 * DAY)
    )
    if changes.get("basic", True):
        builder = builder.add_extension(basic, critical=True)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return builder.sign(signer, changes.get("hash", hashes.SHA256()))


def root(*extensions: Any, **changes: Any) -> x509.Certificate:
    return certificate("root", ROOT, "root", ROOT, *extensions, **changes)


def issuer(*extensions: Any, **changes: Any) -> x509.Certificate:
    key, signer = changes.pop("key", ISSUER), changes.pop("signer", ROOT)
    return certificate("issuer", key, changes.pop("by", "root"), signer, *extensions, **changes)


def pem(path: str, *certificates: x509.Certificate) -> Pem:
    return Pem(path, "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates))


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def check(*chain: x509.Certificate, roots: Pem | None = None, key: Any = ISSUER) -> Any:
    return build_brought(pem("chain.pem", *chain), roots, key, "cluster.local", NOW.timestamp())


def test_a_chain_with_its_root_and_one_with_the_root_apart_are_the_same() -> None:
    whole, apart = check(issuer(), root()), check(issuer(), roots=pem("root.pem", root()))
    for one in (whole, apart):
        assert len(one.roots) == 1
        assert one.above == ()
        assert one.root_key is None


def test_what_stands_between_is_kept_and_a_root_at_the_end_is_not_sent() -> None:
    upper = certificate("upper", UPPER, "root", ROOT, path_length=1)
    made = check(issuer(by="upper", signer=UPPER, path_length=0), upper, root(path_length=2))
    assert [one.subject for one in made.above] == [name("upper")]


def test_names_of_the_trust_domain_and_limits_that_let_them_through_are_fine() -> None:
    names = x509.SubjectAlternativeName([URI("spiffe://cluster.local")])
    limits = x509.NameConstraints([URI("cluster.local")], None)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    check(issuer(names, limits, purposes, usage(sign=True), path_length=0), root(path_length=1))
    check(issuer(x509.NameConstraints([URI(".local")], None)), root())


WEAK = rsa.generate_private_key(65537, 1024)
P521 = ec.generate_private_key(ec.SECP521R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
WRONG: list[tuple[str, Callable[[], Any]]] = [
    (r"chain\.pem: 'CN=issuer' is not the certificate of the key", lambda: check(issuer(), root(), key=OTHER)),
    ("'CN=root' is not the certificate of the key", lambda: check(root(), roots=pem("root.pem", root()))),
    ("is CA:false; expected the certificate of an authority", lambda: check(issuer(ca=False), root())),
    ("has no basic constraints", lambda: check(issuer(basic=False), root())),
    ("'CN=root' has path length 0, and 1 authorities below it", lambda: check(issuer(), root(path_length=0))),
    ("may not sign certificates; expected the key usage", lambda: check(issuer(usage(sign=False)), root())),
    (
        "bound to other purposes",
        lambda: check(issuer(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])), root()),
    ),
    ("is not signed by the next in the file, 'CN=root'", lambda: check(issuer(signer=OTHER), root())),
    (
        "is signed by CN=root, which is none of the given roots",
        lambda: check(issuer(), roots=pem("root.pem", certificate("other", OTHER, "other", OTHER))),
    ),
    ("its last certificate, 'CN=issuer', is no root; give the root", lambda: check(issuer())),
    (
        r"root\.pem: 'CN=upper' is no root: CN=root signed it",
        lambda: check(issuer(), roots=pem("root.pem", certificate("upper", UPPER, "root", ROOT))),
    ),
    ("is valid from 2026-10-31T00:00:00Z to 2026-10-31T12:00:00Z", lambda: check(issuer(end=NOW - DAY / 2), root())),
    ("'CN=root' is valid from 2026-11-02", lambda: check(issuer(), root(begin=NOW + DAY))),
    (r"ends in 12\.0 h; expected 24 h at least", lambda: check(issuer(end=NOW + DAY / 2), root())),
    ("RSA key of 1024 bits", lambda: check(issuer(key=WEAK), root(), key=WEAK)),
    ("has a key on secp521r1", lambda: check(issuer(key=P521), root(), key=P521)),
    ("has a key of another kind", lambda: check(issuer(key=EDWARDS), root(), key=EDWARDS)),
    (
        "is for trust domain 'other.example'; this mesh is 'cluster.local'",
        lambda: check(issuer(x509.SubjectAlternativeName([URI("spiffe://other.example")])), root()),
    ),
    (
        "permits names of other.example only",
        lambda: check(issuer(), root(x509.NameConstraints([URI("other.example")], None))),
    ),
    (
        "excludes names of the trust domain",
        lambda: check(issuer(x509.NameConstraints(None, [URI("cluster.local")])), root()),
    ),
    (
        "permits some hosts only",
        lambda: check(issuer(x509.NameConstraints([x509.DNSName("example.com")], None)), root()),
    ),
    (
        "permits some hosts only",
        lambda: check(issuer(x509.NameConstraints([x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))], None)), root()),
    ),
    ("6 certificates; expected 5 at most", lambda: check(*[issuer()] * 5, root())),
    ("expected certificates in PEM", lambda: build_brought(Pem("x", "hello"), None, ISSUER, "a", 0.0)),
]


@pytest.mark.parametrize("index", range(len(WRONG)))
def test_what_is_wrong_is_named_with_what_was_found(index: int) -> None:
    words, made = WRONG[index]
    with pytest.raises(AuthorityError, match=words):
        made()


def test_a_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "ca")
    slots.prepare()
    with pytest.raises(AuthorityError, match="there is no key for this certificate: weft ca csr"):
        brought_key(slots, None)
    locked = ISSUER.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    for text in (locked.decode(), "no key"):
        with pytest.raises(AuthorityError, match=r"key\.pem: .*expected an unencrypted private key"):
            brought_key(slots, Pem("key.pem", text))
    edwards = EDWARDS.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(AuthorityError, match="neither an elliptic curve nor an RSA key"):
        brought_key(slots, Pem("key.pem", edwards.decode()))


def test_a_request_keeps_its_key_until_it_is_answered_and_no_root_is_made_meanwhile(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "ca")
    slots.prepare()
    first, again = (x509.load_pem_x509_csr(request_for_intermediate(slots, "cluster.local").encode()) for _ in "12")
    assert first.public_key() == again.public_key()
    assert first.is_signature_valid
    assert first.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(AuthorityError, match="waits for the answer to its request: weft ca install"):
        open_authority(tmp_path / "ca")
    slots.remove_request()
    open_authority(tmp_path / "ca")


def test_the_first_roots_are_those_of_this_trust_domain_from_then_on(tmp_path: Path) -> None:
    key = ISSUER.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    brought = (pem("chain.pem", issuer()), pem("root.pem", root()), Pem("key.pem", key))
    install_first(tmp_path / "ca", *brought, "one.example", NOW.timestamp)
    assert open_authority(tmp_path / "ca", "one.example", clock=NOW.timestamp).own_root is False
    with pytest.raises(AuthorityError, match=r"is that of trust domain 'one\.example', not of 'two\.example'"):
        open_authority(tmp_path / "ca", "two.example", clock=NOW.timestamp)
    with pytest.raises(AuthorityError, match="has roots already"):
        install_first(tmp_path / "ca", *brought, "one.example", NOW.timestamp)
    late = (NOW + 91 * DAY).timestamp()
    with pytest.raises(AuthorityError, match="weft ca csr makes a request for a new"):
        open_authority(tmp_path / "ca", "one.example", clock=lambda: late)
