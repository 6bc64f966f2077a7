"""A certificate chain and a private key: whether a server can show the one with the other. Never a word of either."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CHAIN, KEY = "tls.crt", "tls.key"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LEAST_RSA_BITS = 2048


def pair_fault(chain: bytes, key: bytes) -> tuple[str, str, str] | None:
    """What is wrong with a chain and its key, both in PEM: which of them, what was found, what is expected. None if
    they fit, and Envoy takes them."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return CHAIN, "it cannot be read as certificates", "certificates in PEM, the server's own first"
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        return KEY, "the key is encrypted with a password", "a private key in PEM without a password"
    except (ValueError, UnsupportedAlgorithm):
        return KEY, "it cannot be read as a private key", "a private key in PEM"
    fault = _kind_fault(private)
    if fault is None and private.public_key() != public:
        fault = f"it does not belong to the first certificate of {CHAIN}", "the key of that certificate"
    return (KEY, *fault) if fault is not None else None


def _kind_fault(private: object) -> tuple[str, str] | None:
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _LEAST_RSA_BITS:
        return f"an RSA key of {private.key_size} bits", f"{_LEAST_RSA_BITS} bits or more"
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) or (
        isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name not in _CURVES
    ):
        return "a key of a kind that servers here do not show", "RSA, or ECDSA on P-256, P-384 or P-521"
    return None
