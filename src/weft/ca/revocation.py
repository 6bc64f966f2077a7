"""Revocation lists: the certificates of one issuer that are refused in hand-shakes (RFC 5280, section 5)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from weft.ca.certificates import Signer

_BACKDATED = datetime.timedelta(days=1)
"""A list that is not valid yet refuses everybody, so it must be valid where clocks are behind."""


def build_revocation_list(signer: Signer, serials: Iterable[int], now: float) -> str:
    """The list of `signer` with these serial numbers, PEM; empty without any, which asks nobody for a list.

    It is valid as long as its signer: an agent that cannot get a newer one must not lose its traffic by that.
    """
    numbers = sorted(set(serials))
    if not numbers or not _may_sign_lists(signer.certificate):
        return ""
    moment = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(moment - _BACKDATED)
        .next_update(signer.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    for number in numbers:
        revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(moment - _BACKDATED).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _may_sign_lists(certificate: x509.Certificate) -> bool:
    """Whether peers believe lists of this issuer. Whoever brought an intermediate may have left that out."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True
