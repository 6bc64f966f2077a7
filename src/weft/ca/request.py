"""Certificate signing requests: what is taken from one (its public key), and what makes one refused (RFC 2986)."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weft.model.identity import SpiffeId

MAX_REQUEST_BYTES = 8 * 1024
_CURVES = ("secp256r1", "secp384r1")


class CertificateRefusedError(Exception):
    """A certificate was not issued. `code` is a stable kebab-case word for programs and for the record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def public_key_from_request(text: str, identity: SpiffeId, proxy: str) -> ec.EllipticCurvePublicKey:
    """The public key of the PEM request `text`, whose holder is authenticated as `identity` and `proxy`.

    The names in the request never reach a certificate. It may carry none, or exactly those of the holder; asking for
    any other name, or for a CA, is refused, because it is either a mistake or an attack.
    """
    request = _load(text)
    try:
        key = request.public_key()
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:  # a point off its curve, an unknown algorithm
        raise CertificateRefusedError("csr-bad-key", "the request's public key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise CertificateRefusedError("csr-weak-key", "the request's key must be an elliptic curve key, P-256 or P-384")
    try:
        valid = request.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise CertificateRefusedError("csr-bad-signature", "the request's signature cannot be checked") from error
    if not valid:
        raise CertificateRefusedError("csr-bad-signature", "the request is not signed with the key that it carries")
    _check_subject(request, proxy)
    _check_extensions(request, identity)
    return key


def _load(text: str) -> x509.CertificateSigningRequest:
    if len(text) > MAX_REQUEST_BYTES or len(text.encode(errors="replace")) > MAX_REQUEST_BYTES:
        raise CertificateRefusedError("csr-too-large", f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    if text.count("-----BEGIN") != 1:
        raise CertificateRefusedError("csr-malformed", "expected exactly one PEM block: CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateRefusedError("csr-malformed", "not a PEM PKCS#10 certificate request") from error


def _check_subject(request: x509.CertificateSigningRequest, proxy: str) -> None:
    try:
        subject = list(request.subject)
    except ValueError as error:
        raise CertificateRefusedError("csr-malformed", "the request's subject cannot be read") from error
    for attribute in subject:
        if attribute.oid != NameOID.COMMON_NAME or attribute.value != proxy:
            raise CertificateRefusedError(
                "csr-identity-mismatch",
                f"the request names the subject {_shown(str(attribute.value))}, but its sender is {proxy}",
            )
    if len(subject) > 1:
        raise CertificateRefusedError("csr-identity-mismatch", f"the request has {len(subject)} subject names")


def _check_extensions(request: x509.CertificateSigningRequest, identity: SpiffeId) -> None:
    try:
        extensions = list(request.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CertificateRefusedError("csr-malformed", "the request's extensions cannot be read") from error
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise CertificateRefusedError("csr-wants-ca", "the request asks for a certificate authority")
        if isinstance(extension.value, x509.KeyUsage) and extension.value.key_cert_sign:
            raise CertificateRefusedError("csr-wants-ca", "the request asks for the right to sign certificates")
        if isinstance(extension.value, x509.SubjectAlternativeName):
            _check_names(extension.value, identity)


def _check_names(names: x509.SubjectAlternativeName, identity: SpiffeId) -> None:
    found = list(names)
    for name in found:
        if not isinstance(name, x509.UniformResourceIdentifier) or name.value != str(identity):
            raise CertificateRefusedError(
                "csr-identity-mismatch",
                f"the request asks for the name {_shown(str(name.value))}, but its sender is {identity}",
            )
    if len(found) != 1:
        raise CertificateRefusedError("csr-identity-mismatch", f"the request asks for {len(found)} names, not one")


def _shown(text: str) -> str:
    """Text from a stranger, fit for a log line."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")
