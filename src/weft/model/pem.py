"""PEM as documents bring it: whether certificates can be read, and whether a key belongs to one. Pure."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization


def holds_certificates(content: bytes) -> bool:
    """Whether `content` is one certificate or several: a proxy refuses what is not, with all that came beside it."""
    try:
        return bool(x509.load_pem_x509_certificates(content))
    except ValueError:
        return False


def holds_list(content: bytes) -> bool:
    """Whether `content` is a list of certificates that were taken back."""
    try:
        x509.load_pem_x509_crl(content)
    except ValueError:
        return False
    return True


def key_fits(chain: bytes, key: bytes) -> bool:
    """Whether `key` (not sealed by a password) is that of the first certificate of `chain`."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0].public_key()
        own = serialization.load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError):
        return False
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    der = serialization.Encoding.DER
    return leaf.public_bytes(der, spki) == own.public_bytes(der, spki)
