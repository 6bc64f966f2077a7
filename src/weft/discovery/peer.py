"""Who is at the other end of a stream: read from its verified certificate, never from node metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from weft.model.identity import SpiffeId, spiffe_id_from_text
from weft.model.workload import Workload


class IdentityRefusedError(Exception):
    """The peer is not who it must be; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Peer:
    """`name` is the certificate's common name, `not_after` its end in seconds since the epoch."""

    name: str
    identity: SpiffeId
    not_after: float


def peer_from_auth_context(context: Mapping[str, Iterable[bytes]]) -> Peer:
    """The peer of a TLS connection whose certificate gRPC verified against the trust bundle."""
    pem = next(iter(context.get("x509_pem_cert", ())), b"")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityRefusedError("the connection has no client certificate") from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if len(names) != 1 or len(uris) != 1:
        raise IdentityRefusedError(
            f"the certificate has {len(names)} common names and {len(uris)} URI names; expected one of each"
        )
    identity = spiffe_id_from_text(uris[0])
    if identity is None:
        raise IdentityRefusedError(f"{uris[0][:200]!r} is not an identity of this mesh")
    return Peer(str(names[0].value), identity, certificate.not_valid_after_utc.timestamp())


def check_peer(peer: Peer, node: str, workload: Workload | None, now: float) -> Workload:
    """The workload the peer is entitled to be. Raises IdentityRefusedError for any disagreement."""
    if node != peer.name:
        raise IdentityRefusedError(f"node id {node[:200]!r} does not match the certificate of {peer.name!r}")
    if peer.not_after <= now:
        raise IdentityRefusedError(f"the certificate of {peer.name!r} has expired")
    if workload is None:
        raise IdentityRefusedError(f"no workload {peer.name!r} is registered")
    if not belongs(peer, workload):
        raise IdentityRefusedError(
            f"{peer.name!r} is registered with service account "
            f"{workload.namespace}/{workload.service_account}, its certificate says {peer.identity}"
        )
    return workload


def belongs(peer: Peer, workload: Workload) -> bool:
    """Whether `workload` is registered under the peer's own name and identity."""
    registered = (workload.proxy, workload.namespace, workload.service_account)
    return registered == (peer.name, peer.identity.namespace, peer.identity.service_account)
