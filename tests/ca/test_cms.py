"""Signed documents of clouds in PKCS #7: those that OpenSSL makes are read, with all that can be wrong in them."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.test_attestation import APPLICANT, AWS, refused
from support.spire import certify, name_of
from weft.ca.attestation import Demands, verify
from weft.ca.cms import CmsError, read_signed
from weft.model.enrolment import Proof

NOW = time.time()
TIMES = "%m/%d/%y %H:%M:%S -0000"
VM = {"nonce": "", "subscriptionId": "sub-1", "vmId": "vm-1", "sku": "x"}


class Signer:
    """A key with its certificate, in files that OpenSSL reads."""

    def __init__(self, directory: Path, name: str, by: Signer | None = None, **options: Any) -> None:
        self.directory, self.name = directory, directory / name
        self.key = options.pop("key", None) or rsa.generate_private_key(65537, 2048)
        issuer, signer = (by.certificate.subject, by.key) if by else (name_of(name), self.key)
        self.certificate: x509.Certificate = certify(name_of(name), self.key, issuer, signer, **options)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.name.with_suffix(".key").write_bytes(self.key.private_bytes(*form))
        self.name.with_suffix(".pem").write_text(self.pem)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, content: bytes, *words: str) -> bytes:
        """PKCS #7 with the content inside, DER unless `words` say otherwise."""
        words = ("-nodetach", "-md", "sha256", *words)
        files = ("-signer", str(self.name.with_suffix(".pem")), "-inkey", str(self.name.with_suffix(".key")))
        command = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", *files, *words]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("aws"), "amazon")


FORMS = {
    "der": ("-nocerts",),
    "ber": ("-nocerts", "-stream"),
    "with its certificate": ("-stream",),
    "without attributes": ("-nocerts", "-noattr"),
    "sha-512": ("-nocerts", "-md", "sha512"),
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_openssl_signs_is_read(amazon: Signer, form: str) -> None:
    data = amazon.sign(b"the document" * 300, *FORMS[form])
    signed = read_signed(data)
    assert signed.content == b"the document" * 300
    assert signed.by(amazon.certificate.public_key())
    assert not signed.by(rsa.generate_private_key(65537, 2048).public_key())
    assert not signed.by(ec.generate_private_key(ec.SECP256R1()).public_key())


def test_one_changed_byte_is_refused(amazon: Signer) -> None:
    key = amazon.certificate.public_key()
    for form in ("der", "ber", "without attributes"):
        data = amazon.sign(json.dumps(AWS).encode(), *FORMS[form])
        for at in range(0, len(data), 3):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            try:
                signed = read_signed(changed)
                good = signed.by(key) and signed.content != read_signed(data).content
            except CmsError:
                good = False
            assert not good, (form, at)


def test_what_is_refused(amazon: Signer, tmp_path: Path) -> None:
    other = Signer(tmp_path, "other", key=ec.generate_private_key(ec.SECP256R1()))
    second = Signer(tmp_path, "second")
    two = ("-signer", str(second.name.with_suffix(".pem")), "-inkey", str(second.name.with_suffix(".key")))
    for words, why in (
        (("-md", "sha1"), "digest"),
        (("-outform", "PEM"), "ends within a value"),
        (two, "expected one signer"),
    ):
        with pytest.raises(CmsError, match=why):
            read_signed(amazon.sign(b"x", *words))
    with pytest.raises(CmsError, match="RSA"):
        read_signed(other.sign(b"x"))
    detached = subprocess.run(
        ["openssl", "cms", "-sign", "-binary", "-outform", "DER", *two], input=b"x", capture_output=True, check=True
    ).stdout
    with pytest.raises(CmsError, match="does not hold what it signs"):
        read_signed(detached)
    for data in (b"", b"\x30", b"\x30\x80" * 5000, b"\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff", b"x" * 70000):
        with pytest.raises(CmsError):
            read_signed(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_nothing_else_than_a_refusal_comes_of_noise(data: bytes) -> None:
    for text in (data, b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80" + data):
        with pytest.raises(CmsError):
            read_signed(text)


def aws(signer: Signer, **claims: str) -> Demands:
    return Demands(cloud="aws", keys=signer.pem, claims=tuple(claims.items()) or (("account", "123456789012"),))


def test_aws_signs_a_document_with_its_content_inside(amazon: Signer, tmp_path: Path) -> None:
    text = base64.encodebytes(amazon.sign(json.dumps(AWS).encode(), "-nocerts", "-stream")).decode()
    verify(aws(amazon), Proof("", document=text), APPLICANT, NOW)
    framed = f"-----BEGIN PKCS7-----\n{text}-----END PKCS7-----\n"
    verify(aws(amazon, account="123456789012", instance="i-1"), Proof("", document=framed), APPLICANT, NOW)
    proof = Proof("", document=text)
    assert "does not say account=210987654321" in refused(aws(amazon, account="210987654321"), proof)
    assert "not signed by any of the given keys" in refused(aws(Signer(tmp_path, "else")), proof)
    assert "is refused" in refused(aws(amazon), Proof("", document=text[:-200]))
    assert "is refused" in refused(aws(amazon), Proof("", document="%%%"))
    sha1 = base64.b64encode(amazon.sign(json.dumps(AWS).encode(), "-md", "sha1")).decode()
    assert "its digest is none of SHA-256" in refused(aws(amazon), Proof("", document=sha1))
    # a certificate that comes along vouches for nothing
    forged = Signer(tmp_path, "forged")
    own = base64.b64encode(forged.sign(json.dumps(AWS).encode())).decode()
    assert "not signed by any of the given keys" in refused(aws(amazon), Proof("", document=own))


class Azure:
    """Root, issuer, and the service's certificate; `document` is what an instance is given."""

    def __init__(self, directory: Path, host: str = "eastus.metadata.azure.com", **options: Any) -> None:
        self.root = Signer(directory, "root", authority=True)
        self.issuer = Signer(directory, "issuer", self.root, authority=True, path_length=0)
        self.service = Signer(directory, "service", self.issuer, dns=(host,), **options)

    def document(self, *words: str, begin: float = -60.0, end: float = 6 * 3600.0, **changes: Any) -> str:
        def at(seconds: float) -> str:
            return datetime.datetime.fromtimestamp(NOW + seconds, datetime.UTC).strftime(TIMES)

        content = {**VM, "timeStamp": {"createdOn": at(begin), "expiresOn": at(end)}, **changes}
        data = self.service.sign(json.dumps(content).encode(), *words)
        return json.dumps({"encoding": "pkcs7", "signature": base64.b64encode(data).decode()})

    def demands(self, keys: str = "", **claims: str) -> Demands:
        return Demands(
            cloud="azure",
            keys=keys or self.issuer.pem,
            claims=tuple(claims.items()) or (("subscription", "sub-1"), ("instance", "vm-1")),
        )


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Azure:
    return Azure(tmp_path_factory.mktemp("azure"))


def test_azure_attests_a_machine(azure: Azure) -> None:
    verify(azure.demands(), Proof("", document=azure.document()), APPLICANT, NOW)
    with_issuer = azure.document("-certfile", str(azure.issuer.name.with_suffix(".pem")))
    verify(azure.demands(azure.root.pem), Proof("", document=with_issuer), APPLICANT, NOW)
    verify(azure.demands(azure.service.pem), Proof("", document=azure.document()), APPLICANT, NOW)


def test_what_azure_did_not_attest_is_refused(azure: Azure, tmp_path: Path) -> None:
    good = azure.document()

    def told(document: str, demands: Demands | None = None) -> str:
        return refused(demands or azure.demands(), Proof("", document=document), now=NOW)

    under = "not signed by Azure under the given certificates"
    assert "does not say subscription=sub-2" in told(good, azure.demands(subscription="sub-2"))
    assert "does not say aud=x" in told(good, azure.demands(aud="x"))
    assert under in told(good, azure.demands(azure.root.pem)), "the issuer between them did not come along"
    assert under in told(Azure(tmp_path).document())
    assert "has expired" in told(azure.document(end=-120.0))
    assert "has expired" in told(azure.document(begin=3600.0))
    assert "until when" in told(azure.document(timeStamp="x"))
    assert "until when" in told(azure.document(timeStamp={"createdOn": "1", "expiresOn": "2"}))
    assert "not in PKCS #7" in told(json.dumps({"encoding": "plain", "signature": "x"}))
    assert "not in PKCS #7" in told(json.dumps(VM))
    assert "is refused" in told(json.dumps({"encoding": "pkcs7", "signature": "eA=="}))
    assert "cannot be read" in told("{")


@pytest.mark.parametrize("host", ["shop.example", "metadata.azure.com.evil.example", "xmetadata.azure.com"])
def test_its_issuers_certify_others_who_attest_nothing(tmp_path: Path, host: str) -> None:
    azure = Azure(tmp_path, host)
    proof = Proof("", document=azure.document())
    assert "not signed by Azure" in refused(azure.demands(), proof, now=NOW)


def test_a_certificate_that_is_over_attests_nothing(tmp_path: Path) -> None:
    azure = Azure(tmp_path, life=-360000.0, since=720000.0)
    assert "not signed by Azure" in refused(azure.demands(), Proof("", document=azure.document()), now=NOW)


def test_who_is_certified_signs_no_others(azure: Azure, tmp_path: Path) -> None:
    below = Signer(tmp_path, "below", azure.service, dns=("metadata.azure.com",))
    content = json.dumps(
        {**VM, "timeStamp": {"createdOn": "01/01/20 00:00:00 -0000", "expiresOn": "01/01/68 00:00:00 -0000"}}
    )
    data = below.sign(content.encode(), "-certfile", str(azure.service.name.with_suffix(".pem")))
    document = json.dumps({"encoding": "pkcs7", "signature": base64.b64encode(data).decode()})
    assert "not signed by Azure" in refused(azure.demands(), Proof("", document=document), now=NOW)


def test_many_certificates_are_too_many(amazon: Signer, tmp_path: Path) -> None:
    many = tmp_path / "many.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    made = [certify(name_of(f"n{number}"), key, name_of("x"), key) for number in range(9)]
    many.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in made))
    with pytest.raises(CmsError, match="more than 8"):
        read_signed(amazon.sign(b"x", "-certfile", str(many)))
    assert isinstance(made[0], x509.Certificate)
