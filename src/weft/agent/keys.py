"""Private keys and certificate requests, made where they are used."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from weft.model.distrust import NO_TRUST, Trust, trust_from_text


@dataclass(frozen=True, slots=True)
class KeyAndRequest:
    """A new P-256 key (PKCS#8 PEM) and a request (PKCS#10 PEM) for its public half, without any name."""

    key: str = field(repr=False)
    csr: str


def make_key() -> KeyAndRequest:
    """A fresh key for one certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyAndRequest(text.decode(), request.public_bytes(serialization.Encoding.PEM).decode())


def belongs(key: str, chain: str) -> bool:
    """Whether the leaf of `chain` certifies `key`."""
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    except (ValueError, TypeError):
        return False
    known = isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return known and private.public_key() == leaf.public_key()


def valid_times(chain: str) -> tuple[float, float]:
    """Start and end of the leaf's life, epoch seconds. ValueError when `chain` is no certificate."""
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    return _seconds(leaf.not_valid_before_utc), _seconds(leaf.not_valid_after_utc)


def trust_of(chain: str) -> Trust:
    """The numbers in the leaf that tell before from after an end of trust. ValueError if `chain` is no certificate."""
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    found = leaf.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    return trust_from_text(str(found[0].value)) if found else NO_TRUST


def fingerprints(bundle: str) -> frozenset[str]:
    """SHA-256 of each certificate's DER, in hex. ValueError when `bundle` holds none."""
    return frozenset(
        root.fingerprint(hashes.SHA256()).hex() for root in x509.load_pem_x509_certificates(bundle.encode())
    )


def issuer_fingerprint(chain: str) -> str:
    """SHA-256 (hex) of the certificate behind the leaf in `chain`; empty if a root signed it. ValueError when it is no
    chain."""
    certificates = x509.load_pem_x509_certificates(chain.encode())
    return certificates[1].fingerprint(hashes.SHA256()).hex() if len(certificates) > 1 else ""


def root_fingerprint(chain: str, bundle: str) -> str:
    """SHA-256 (hex) of the root in `bundle` that signed the last certificate of `chain` but for links between roots;
    empty if none did. ValueError when one of them is none."""
    certificates = x509.load_pem_x509_certificates(chain.encode())
    for root in x509.load_pem_x509_certificates(bundle.encode()):
        for one in certificates[1:] or certificates:
            if one.issuer == root.subject and _signed_by(one, root):
                return root.fingerprint(hashes.SHA256()).hex()
    return ""


def _signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _seconds(when: datetime.datetime) -> float:
    return when.timestamp()
