"""Who is calling the agent API: a process of this host, the bearer of a join token, or a workload by certificate."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, field

from aiohttp import web

from weft.admin.local_users import LocalUser, allowed, cgroup_of
from weft.admin.replies import Refused
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from weft.model.addresses import plain_address
from weft.model.distrust import NO_TRUST, Trust, trust_from_text
from weft.model.identity import SpiffeId, spiffe_id_from_text
from weft.processes.peer import peer_of

_REPLICA = (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)


@dataclass(frozen=True, slots=True)
class LocalCaller:
    """A process on the unix socket: of the same user or root, who may be anybody (`identities` None), or of another
    user, who may have these (namespace, service account)."""

    uid: int
    identities: tuple[tuple[str, str], ...] | None = None

    def __str__(self) -> str:
        return f"local uid {self.uid}"


@dataclass(frozen=True, slots=True)
class RemoteCaller:
    """A TLS client: at most one certificate of this mesh, at most one join token."""

    address: str
    identity: SpiffeId | None = None
    proxy: str = ""
    trust: Trust = NO_TRUST
    until: float = 0.0
    """When its certificate ends, seconds since the epoch. `trust` is what stands in it, and `pod` the uid of the Pod
    that it was issued to."""
    pod: str = ""
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.proxy} ({self.identity}) at {self.address}" if self.identity else self.address


Caller = LocalCaller | RemoteCaller


def local_caller(request: web.Request, users: tuple[LocalUser, ...] = ()) -> LocalCaller:
    """The process at the other end of a unix socket; Refused unless it is this user's, root's, or that of one of
    `users`."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    uid, pid = peer_of(connection)
    if uid not in {os.geteuid(), 0}:
        if identities := allowed(users, uid, cgroup_of(pid)):
            return LocalCaller(uid, identities)
        if users:
            text = "this user, or the unit that the process is in, may have no identity: weft serve --allow-uid"
            raise Refused(403, "wrong-user", text, record=f"uid {uid}, pid {pid}")
        raise Refused(403, "wrong-user", "this socket is for the user who runs the control plane, and root")
    return LocalCaller(uid)


def remote_caller(request: web.Request) -> RemoteCaller:
    """What a TLS client has shown. A certificate was verified against the mesh's root by the hand-shake."""
    address = plain_address(request.remote or "unknown")
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    tls = request.transport.get_extra_info("ssl_object") if request.transport else None
    if tls is None:
        raise Refused(403, "no-tls", "this API speaks TLS only")
    identity, proxy = _names(tls)
    return RemoteCaller(address, identity, proxy, _trust(tls), _end(tls), _pod(tls), token)


def proxy_of(transport: asyncio.BaseTransport) -> str:
    """The proxy whose certificate the hand-shake has proven; empty without one."""
    tls = transport.get_extra_info("ssl_object")
    return _names(tls)[1] if tls is not None else ""


def holder_of(transport: asyncio.BaseTransport) -> str:
    """Whose connection it is, as far as the hand-shake has proven it; empty for a stranger. Replicas of the control
    plane have one name, so the address tells them apart."""
    tls = transport.get_extra_info("ssl_object")
    identity, name = _names(tls) if tls is not None else (None, "")
    if identity is None or (identity.namespace, identity.service_account) != _REPLICA:
        return name
    peer = transport.get_extra_info("peername")
    return f"{name} at {peer[0]}" if isinstance(peer, tuple) else name


def _names(tls: ssl.SSLObject) -> tuple[SpiffeId | None, str]:
    """Identity and proxy name of the peer certificate: exactly one URI name and one common name (or a
    pseudonym, where that is too long), else nothing."""
    certificate = tls.getpeercert() or {}
    names = [*_in_subject(tls, "commonName"), *_in_subject(tls, "pseudonym")]
    uris = [str(pair[1]) for pair in _pairs(certificate, "subjectAltName") if pair[0] == "URI"]
    if len(names) != 1 or len(uris) != 1:
        return None, ""
    identity = spiffe_id_from_text(uris[0])
    return (identity, names[0]) if identity else (None, "")


def _trust(tls: ssl.SSLObject) -> Trust:
    """The numbers in the peer's certificate."""
    found = _in_subject(tls, "serialNumber")
    return trust_from_text(found[0]) if len(found) == 1 else Trust()


def _pod(tls: ssl.SSLObject) -> str:
    """The Pod that the peer's certificate was issued to."""
    return next(iter(_in_subject(tls, "userId")), "")


def _in_subject(tls: ssl.SSLObject, kind: str) -> list[str]:
    subject = [pair for part in _pairs(tls.getpeercert() or {}, "subject") for pair in _as_tuple(part)]
    return [str(pair[1]) for pair in subject if pair[0] == kind]


def _end(tls: ssl.SSLObject) -> float:
    """The end of the peer's certificate, which a connection may outlive."""
    end = (tls.getpeercert() or {}).get("notAfter")
    return float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else 0.0


def _pairs(certificate: object, member: str) -> tuple[tuple[object, ...], ...]:
    value = certificate.get(member, ()) if isinstance(certificate, dict) else ()
    return tuple(_as_tuple(one) for one in _as_tuple(value))


def _as_tuple(value: object) -> tuple[tuple[object, ...], ...]:
    return value if isinstance(value, tuple) else ()
