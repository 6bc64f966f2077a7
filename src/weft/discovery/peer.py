"""Who is at the other end of a stream: read from its verified certificate, never from node metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from weft.model.distrust import NO_TRUST, Trust, trust_from_text
from weft.model.identity import SpiffeId, spiffe_id_from_text
from weft.model.workload import Workload


class IdentityRefusedError(Exception):
    """The peer is not who it must be; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Peer:
    """`name` is the certificate's common name, or its pseudonym where that is too long; `not_after` its end in seconds
    since the epoch, `trust` what tells it from certificates of before trust ended. `connection` names the connection;
    empty if it is not known. `pod` is the uid of the Pod that it was issued to."""

    name: str
    identity: SpiffeId
    not_after: float
    trust: Trust = NO_TRUST
    connection: str = ""
    pod: str = ""


def trust_domain_of(chain: str) -> str:
    """The trust domain that the first certificate of a PEM chain names; empty if it names none, or several."""
    uris = _uris(x509.load_pem_x509_certificate(chain.encode()))
    identity = spiffe_id_from_text(uris[0]) if len(uris) == 1 else None
    return identity.trust_domain if identity else ""


def peer_from_auth_context(context: Mapping[str, Iterable[bytes]]) -> Peer:
    """The peer of a TLS connection whose certificate gRPC verified against the trust bundle."""
    pem = next(iter(context.get("x509_pem_cert", ())), b"")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityRefusedError("the connection has no client certificate") from error
    subject = certificate.subject
    names = [each for kind in (NameOID.COMMON_NAME, NameOID.PSEUDONYM) for each in subject.get_attributes_for_oid(kind)]
    uris = _uris(certificate)
    if len(names) != 1 or len(uris) != 1:
        raise IdentityRefusedError(
            f"the certificate has {len(names)} common names and {len(uris)} URI names; expected one of each"
        )
    identity = spiffe_id_from_text(uris[0])
    if identity is None:
        raise IdentityRefusedError(f"{uris[0][:200]!r} is not an identity of this mesh")
    numbers = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    trust = trust_from_text(str(numbers[0].value)) if len(numbers) == 1 else Trust()
    pods = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    pod = str(pods[0].value) if pods else ""
    return Peer(str(names[0].value), identity, certificate.not_valid_after_utc.timestamp(), trust, pod=pod)


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def check_peer(peer: Peer, node: str, workload: Workload | None, now: float, trust_domain: str) -> Workload:
    """The workload of the mesh `trust_domain` that the peer is entitled to be. Raises IdentityRefusedError for any
    disagreement."""
    if node != peer.name:
        raise IdentityRefusedError(f"node id {node[:200]!r} does not match the certificate of {peer.name!r}")
    if peer.identity.trust_domain != trust_domain:  # a root may stand above several meshes
        raise IdentityRefusedError(
            f"{peer.name!r} is {peer.identity}, of another trust domain; that of this mesh is {trust_domain}"
        )
    if peer.not_after <= now:
        raise IdentityRefusedError(f"the certificate of {peer.name!r} has expired")
    if workload is None:
        raise IdentityRefusedError(f"no workload {peer.name!r} is registered")
    if peer.identity.service_account == workload.service_account and peer.pod != workload.pod:
        raise IdentityRefusedError(
            f"{peer.name!r} is {_pod(workload.pod)}, its certificate was issued to {_pod(peer.pod)}"
        )
    if not belongs(peer, workload):
        raise IdentityRefusedError(
            f"{peer.name!r} is registered with service account "
            f"{workload.namespace}/{workload.service_account}, its certificate says {peer.identity}"
        )
    return workload


def belongs(peer: Peer, workload: Workload) -> bool:
    """Whether `workload` is registered under the peer's own name and identity, and is the same Pod if it is one."""
    registered = (workload.proxy, workload.namespace, workload.service_account, workload.pod)
    return registered == (peer.name, peer.identity.namespace, peer.identity.service_account, peer.pod)


def _pod(uid: str) -> str:
    return f"the Pod {uid[:80]!a}" if uid else "no Pod"
