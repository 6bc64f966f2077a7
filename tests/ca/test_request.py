"""Requests that try to talk the CA into something (security class 9): each is refused with its own code."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from weft.ca.authority import Authority, open_authority
from weft.ca.request import CertificateRefusedError
from weft.model.identity import SpiffeId

REVIEWS = SpiffeId("cluster.local", "default", "reviews")
PROXY = "reviews-v1.default"
URI = x509.UniformResourceIdentifier


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return open_authority(tmp_path / "ca")


def request(
    names: Sequence[x509.GeneralName] | None = None,
    subject: Sequence[tuple[x509.ObjectIdentifier, str]] = (),
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    key = key or ec.generate_private_key(ec.SECP256R1())
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def refused(authority: Authority, csr: str, identity: SpiffeId = REVIEWS, proxy: str = PROXY) -> str:
    with pytest.raises(CertificateRefusedError) as caught:
        authority.issue(csr, identity, proxy)
    return caught.value.code


def test_own_names_and_no_names_are_fine(authority: Authority) -> None:
    for csr in (
        request(),
        request([URI(str(REVIEWS))], [(NameOID.COMMON_NAME, PROXY)]),
        request(key=ec.generate_private_key(ec.SECP384R1())),
    ):
        assert authority.issue(csr, REVIEWS, PROXY).chain.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    "names",
    [
        [URI("spiffe://cluster.local/ns/default/sa/ratings")],
        [URI("spiffe://other.example/ns/default/sa/reviews")],
        [URI(str(REVIEWS)), URI("spiffe://cluster.local/ns/default/sa/ratings")],
        [URI(str(REVIEWS)), URI(str(REVIEWS))],
        [],
        [URI("spiffe://cluster.local/ns/default/sa/reviews\x00.evil")],
        [URI("spiffe://cluster.local/ns/default/sa/*")],
        [URI(str(REVIEWS).upper())],
        [x509.DNSName("*.default.svc.cluster.local")],
        [x509.DNSName("reviews.default.svc.cluster.local")],
        [x509.RFC822Name("reviews@cluster.local")],
        [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PROXY)]))],
    ],
    ids=[
        "someone else's", "other trust domain", "two names", "twice the same", "empty list", "NUL", "wildcard", "case",
        "wildcard DNS", "DNS", "mail", "directory name",
    ],
)  # fmt: skip
def test_other_names_are_refused(authority: Authority, names: list[x509.GeneralName]) -> None:
    assert refused(authority, request(names)) == "csr-identity-mismatch"


@pytest.mark.parametrize(
    "subject",
    [
        [(NameOID.COMMON_NAME, "ratings-v1.default")],
        [(NameOID.COMMON_NAME, PROXY + "\x00")],
        [(NameOID.COMMON_NAME, "*")],
        [(NameOID.COMMON_NAME, PROXY), (NameOID.COMMON_NAME, PROXY)],
        [(NameOID.ORGANIZATION_NAME, PROXY)],
    ],
)
def test_other_subjects_are_refused(authority: Authority, subject: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    assert refused(authority, request(None, subject)) == "csr-identity-mismatch"


def test_asking_for_a_ca_is_refused(authority: Authority) -> None:
    ca = x509.BasicConstraints(ca=True, path_length=None)
    signs = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    assert refused(authority, request(extensions=[ca])) == "csr-wants-ca"
    assert refused(authority, request(extensions=[signs])) == "csr-wants-ca"


def test_weak_and_foreign_keys_are_refused(authority: Authority) -> None:
    for key in (
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        assert refused(authority, request(key=key)) == "csr-weak-key"


def test_stolen_public_key_is_refused(authority: Authority) -> None:
    mine, theirs = request(), request()
    der = bytearray(x509.load_pem_x509_csr(mine.encode()).public_bytes(serialization.Encoding.DER))
    key_format = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = x509.load_pem_x509_csr(mine.encode()).public_key().public_bytes(*key_format)
    stolen = x509.load_pem_x509_csr(theirs.encode()).public_key().public_bytes(*key_format)
    swapped = x509.load_der_x509_csr(bytes(der).replace(own, stolen))
    assert refused(authority, swapped.public_bytes(serialization.Encoding.PEM).decode()) == "csr-bad-signature"


@pytest.mark.parametrize("kind", ["off the curve", "unknown algorithm", "unknown curve", "no form of a point"])
def test_a_key_that_cannot_be_read_is_refused(authority: Authority, kind: str) -> None:
    """The signature covers the broken key: whoever asks says it on purpose."""
    der = x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER)
    point = der.index(b"\x03\x42\x00\x04") + 4
    changed = {
        "off the curve": der[:point] + bytes(64) + der[point + 64 :],
        "unknown algorithm": der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f"), 1),
        "unknown curve": der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f"), 1),
        "no form of a point": der.replace(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05", 1),
    }[kind]
    pem = (
        "-----BEGIN CERTIFICATE REQUEST-----\n" + b64encode(changed).decode() + "\n-----END CERTIFICATE REQUEST-----\n"
    )
    assert refused(authority, pem) == "csr-bad-key"


def test_size_and_form(authority: Authority) -> None:
    good = request()
    assert refused(authority, good + "x" * 9000) == "csr-too-large"
    assert refused(authority, "é" * 5000) == "csr-too-large"
    many = [URI(str(REVIEWS))] * 200
    assert refused(authority, request(many)) == "csr-too-large"
    for text in ("", "hello", good + good, good[:200], good.replace("REQUEST", "THING"), "\x00" * 100, "\ud800"):
        assert refused(authority, text) == "csr-malformed"


@pytest.mark.parametrize(
    ("identity", "proxy", "code"),
    [
        (SpiffeId("other.example", "default", "reviews"), PROXY, "wrong-trust-domain"),
        (SpiffeId("cluster.local", "default", "*"), PROXY, "bad-identity"),
        (SpiffeId("cluster.local", "default", "a/sa/b"), PROXY, "bad-identity"),
        (SpiffeId("cluster.local", "default", ""), PROXY, "bad-identity"),
        (REVIEWS, "reviews-v1.prod", "bad-identity"),
        (REVIEWS, "reviews-v1", "bad-identity"),
        (REVIEWS, "*.default", "bad-identity"),
        (REVIEWS, "a.b.default", "bad-identity"),
        (REVIEWS, "reviews\x00.default", "bad-identity"),
        (REVIEWS, "r" * 64 + ".default", "bad-identity"),
    ],
)
def test_the_callers_own_mistakes_are_caught(authority: Authority, identity: SpiffeId, proxy: str, code: str) -> None:
    assert refused(authority, request(), identity, proxy) == code


def test_hostile_names_are_quoted_in_messages(authority: Authority) -> None:
    with pytest.raises(CertificateRefusedError) as caught:
        authority.issue(request(None, [(NameOID.COMMON_NAME, "x\n\x1b[31mroot")]), REVIEWS, PROXY)
    assert str(caught.value).isprintable()
