"""X.509-SVIDs of another authority of the same trust domain: read from the Workload API, checked, and proven. Pure.

https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md. What is not understood in a chain refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from weft.model.identity import SpiffeId, spiffe_id_from_text

MAX_CERTIFICATES = 64
"""Of a bundle: what every proxy is given. A chain has eight at most."""
_LONGEST_CHAIN = 8
_SKEW = 60.0
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
"""Critical extensions that this check knows what to do with."""


class SvidError(ValueError):
    """A chain, a key or a bundle is not accepted; the message says why."""


def certificates_from_der(data: bytes, most: int = MAX_CERTIFICATES) -> tuple[x509.Certificate, ...]:
    """Certificates that stand in DER one after the other. Raises SvidError."""
    found: list[x509.Certificate] = []
    at = 0
    while at < len(data):
        end = at + _der_length(data, at)
        if len(found) == most:
            raise SvidError(f"more than {most} certificates")
        try:
            found.append(x509.load_der_x509_certificate(data[at:end]))
        except ValueError as error:
            raise SvidError("a certificate cannot be read") from error
        at = end
    return tuple(found)


def pem_of(certificates: Sequence[x509.Certificate]) -> str:
    """The certificates in PEM."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def check_roots(certificates: Sequence[x509.Certificate], now: float) -> tuple[x509.Certificate, ...]:
    """The roots that serve at `now`, in one order. SvidError if one is no authority's, or if none is left."""
    for one in certificates:
        if not _is_authority(one, 0):
            raise SvidError(f"{one.subject.rfc4514_string()[:200]!a} is no authority's certificate")
    good = {one: None for one in certificates if _in_time(one, now)}
    if not good:
        raise SvidError("it has no root that is valid now")
    return tuple(sorted(good, key=lambda one: one.public_bytes(serialization.Encoding.DER)))


def check_svid(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], trust_domain: str, now: float
) -> SpiffeId:
    """Whose `chain` (leaf first) is: of a workload of `trust_domain`, signed by one of `roots`. Raises SvidError."""
    if not chain or len(chain) > _LONGEST_CHAIN:
        raise SvidError(f"the chain has {len(chain)} certificates")
    leaf, above = chain[0], chain[1:]
    _check_leaf(leaf)
    for one in chain:
        if not _in_time(one, now):
            raise SvidError("a certificate of the chain has expired, or is not valid yet")
        _check_extensions(one)
    known = [root for root in roots if _in_time(root, now)]
    if not _leads(leaf, above, known, 0):
        raise SvidError("the chain leads to no root of the mesh's identity source")
    return svid_identity(leaf, trust_domain)


def svid_identity(leaf: x509.Certificate, trust_domain: str) -> SpiffeId:
    """The one SPIFFE ID of a leaf, if it is a workload's of `trust_domain`. Raises SvidError."""
    names = spiffe_names(leaf)
    identity = spiffe_id_from_text(names[0]) if len(names) == 1 else None
    if identity is None:
        raise SvidError(f"expected one name spiffe://{trust_domain}/ns/NAMESPACE/sa/SERVICE-ACCOUNT")
    if identity.trust_domain != trust_domain:
        raise SvidError(f"it is of the trust domain {identity.trust_domain!a}, the mesh is {trust_domain!a}")
    return identity


def spiffe_names(leaf: x509.Certificate) -> list[str]:
    """The URI names of a certificate."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _check_extensions(certificate: x509.Certificate) -> None:
    try:
        unknown = [each.oid for each in certificate.extensions if each.critical and each.oid not in _UNDERSTOOD]
    except ValueError as error:
        raise SvidError("the extensions of a certificate cannot be read") from error
    if unknown:
        raise SvidError(f"a critical extension of a certificate is not known: {unknown[0].dotted_string}")


def _check_leaf(leaf: x509.Certificate) -> None:
    try:
        authority = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    except ValueError as error:
        raise SvidError("its extensions cannot be read") from error
    if authority:
        raise SvidError("it is an authority's certificate, not a workload's")
    usage = _key_usage(leaf)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise SvidError("its key usage is not a workload's")


def _leads(
    certificate: x509.Certificate, above: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], depth: int
) -> bool:
    """Whether a root signed it, or one of `above` (in order) that a root stands over; `depth` authorities are below."""
    if any(_is_authority(root, depth) and _signed(certificate, root) for root in roots):
        return True
    if not above or not _is_authority(above[0], depth) or not _signed(certificate, above[0]):
        return False
    return _leads(above[0], above[1:], roots, depth + 1)


def _is_authority(certificate: x509.Certificate, below: int) -> bool:
    """Whether it may sign certificates, with so many authorities between it and the leaf."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    usage = _key_usage(certificate)
    long_enough = constraints.path_length is None or constraints.path_length >= below
    return constraints.ca and long_enough and (usage is None or usage.key_cert_sign)


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _in_time(certificate: x509.Certificate, now: float) -> bool:
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return begin - _SKEW <= now < end


def _der_length(data: bytes, at: int) -> int:
    """The length of the DER value (a SEQUENCE) that begins at `at`."""
    if len(data) < at + 2 or data[at] != 0x30:
        raise SvidError("a certificate cannot be read")
    first = data[at + 1]
    if first < 0x80:
        return 2 + first
    size = first & 0x7F
    if not 1 <= size <= 3 or len(data) < at + 2 + size:
        raise SvidError("a certificate cannot be read")
    return 2 + size + int.from_bytes(data[at + 2 : at + 2 + size], "big")
