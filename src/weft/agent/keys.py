"""Private keys and certificate requests, made where they are used."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


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
    return isinstance(private, ec.EllipticCurvePrivateKey) and private.public_key() == leaf.public_key()


def valid_times(chain: str) -> tuple[float, float]:
    """Start and end of the leaf's life, epoch seconds. ValueError when `chain` is no certificate."""
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    return _seconds(leaf.not_valid_before_utc), _seconds(leaf.not_valid_after_utc)


def fingerprints(bundle: str) -> frozenset[str]:
    """SHA-256 of each certificate's DER, in hex. ValueError when `bundle` holds none."""
    return frozenset(
        root.fingerprint(hashes.SHA256()).hex() for root in x509.load_pem_x509_certificates(bundle.encode())
    )


def _seconds(when: datetime.datetime) -> float:
    return when.timestamp()
