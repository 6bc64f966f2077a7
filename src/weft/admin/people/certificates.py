"""Which names a client's certificate gives it: by the authority that the hand-shake has verified it against."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from weft.model.distrust import Distrust, distrusted_from, trust_from_text
from weft.model.identity import spiffe_id_from_text

Names = tuple[str, ...]
MeshBundle = Callable[[], str]
"""The roots of the mesh as PEM, as they are now."""
Distrusting = Callable[[], tuple[Distrust, ...]]
"""The ends of trust of the moment."""


def certificate_names(
    transport: asyncio.BaseTransport | None, mesh: MeshBundle, trust_domain: str, distrusted: Distrusting
) -> Names:
    """What a verified client certificate says who it is: ``spiffe://…``, ``subject:…``.

    A certificate of the mesh says its SPIFFE id, unless trust in it has ended (`distrusted`). One of another authority
    says its subject, and a SPIFFE id of any trust domain but the mesh's: an authority vouches for its own.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    shown = shown_certificate(transport)
    if not shown:
        return ()
    certificate = x509.load_der_x509_certificate(shown)
    spiffe = _spiffe_id(certificate)
    own = f"spiffe://{trust_domain}/"
    root = verified_root(tls)
    if root and root in _roots(mesh()):
        return (spiffe,) if spiffe.startswith(own) and not _ended(certificate, spiffe, distrusted()) else ()
    if not root:
        return ()
    subject = f"subject:{certificate.subject.rfc4514_string()}"
    return (spiffe, subject) if spiffe and not spiffe.startswith(own) else (subject,)


def is_vouched_for(transport: asyncio.BaseTransport | None, roots: str) -> bool:
    """Whether the hand-shake has verified a client's certificate by one of `roots` (PEM)."""
    if not roots or not shown_certificate(transport) or transport is None:
        return False
    return verified_root(transport.get_extra_info("ssl_object")) in _roots(roots)


def common_roots(one: str, other: str) -> tuple[str, ...]:
    """The subjects of the certificates that both bundles (PEM) have."""
    both = sorted(_roots(one) & _roots(other)) if one and other else []
    return tuple(x509.load_der_x509_certificate(each).subject.rfc4514_string() for each in both)


def is_workload(shown: bytes) -> bool:
    """Whether a certificate (DER) has a SPIFFE id, as all of a mesh have: whose subject says what a pod is called."""
    return any(name.startswith("spiffe://") for name in _uris(x509.load_der_x509_certificate(shown)))


def shown_certificate(transport: asyncio.BaseTransport | None) -> bytes:
    """The client's certificate as DER; empty without one."""
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""


def certificate_ended(shown: bytes, trust_domain: str, distrusted: Distrusting) -> bool:
    """Whether trust in a certificate of the mesh (DER) has ended since it was shown."""
    certificate = x509.load_der_x509_certificate(shown)
    spiffe = _spiffe_id(certificate)
    return spiffe.startswith(f"spiffe://{trust_domain}/") and _ended(certificate, spiffe, distrusted())


def _ended(certificate: x509.Certificate, spiffe: str, distrusted: tuple[Distrust, ...]) -> bool:
    """Whether a certificate of the mesh is one that sidecars refuse, too."""
    identity = spiffe_id_from_text(spiffe)
    if identity is None:
        return True
    kinds = (NameOID.COMMON_NAME, NameOID.DN_QUALIFIER, NameOID.SERIAL_NUMBER)
    proxy, behind, numbers = (
        "".join(str(one.value) for one in certificate.subject.get_attributes_for_oid(kind)) for kind in kinds
    )
    ends, trust = distrusted_from(distrusted), trust_from_text(numbers)
    return ends.refusal(proxy or behind, identity.namespace, identity.service_account, trust) is not None


def verified_root(tls: Any) -> bytes:
    """The end of the chain that the hand-shake has verified, as DER; empty where it cannot be told."""
    if hasattr(tls, "get_verified_chain"):  # Python 3.13
        chain = list(tls.get_verified_chain())
        return bytes(chain[-1]) if chain else b""
    chain = list(tls._sslobj.get_verified_chain() or ())
    return ssl.PEM_cert_to_DER_cert(chain[-1].public_bytes()) if chain else b""


def _roots(bundle: str) -> frozenset[bytes]:
    found = x509.load_pem_x509_certificates(bundle.encode())
    return frozenset(one.public_bytes(Encoding.DER) for one in found)


def _spiffe_id(certificate: x509.Certificate) -> str:
    """The only URI name; empty if there is none or several."""
    uris = _uris(certificate)
    return uris[0] if len(uris) == 1 and uris[0].startswith("spiffe://") else ""


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
