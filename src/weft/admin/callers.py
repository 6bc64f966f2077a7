"""Who is calling the agent API: a process of this host, the bearer of a join token, or a workload by certificate."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from dataclasses import dataclass, field

from aiohttp import web

from weft.admin.replies import Refused
from weft.model.addresses import plain_address
from weft.model.identity import SpiffeId, spiffe_id_from_text

_LOCAL_PEERCRED = 1
"""macOS: level 0 (SOL_LOCAL), option LOCAL_PEERCRED gives struct xucred: version, uid, ..."""


@dataclass(frozen=True, slots=True)
class LocalCaller:
    """A process of the same user (or root) on the unix socket."""

    uid: int

    def __str__(self) -> str:
        return f"local uid {self.uid}"


@dataclass(frozen=True, slots=True)
class RemoteCaller:
    """A TLS client: at most one certificate of this mesh, at most one join token."""

    address: str
    identity: SpiffeId | None = None
    proxy: str = ""
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.proxy} ({self.identity}) at {self.address}" if self.identity else self.address


Caller = LocalCaller | RemoteCaller


def local_caller(request: web.Request) -> LocalCaller:
    """The process at the other end of a unix socket; Refused unless it is this user's or root's."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    uid = _peer_uid(connection)
    if uid not in {os.geteuid(), 0}:
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
    return RemoteCaller(address, identity, proxy, token)


def proxy_of(transport: asyncio.BaseTransport) -> str:
    """The proxy whose certificate the hand-shake has proven; empty without one."""
    tls = transport.get_extra_info("ssl_object")
    return _names(tls)[1] if tls is not None else ""


def _names(tls: ssl.SSLObject) -> tuple[SpiffeId | None, str]:
    """Identity and proxy name of the peer certificate: exactly one URI name and one common name, else nothing."""
    certificate = tls.getpeercert() or {}
    subject = [pair for part in _pairs(certificate, "subject") for pair in _as_tuple(part)]
    names = [str(pair[1]) for pair in subject if pair[0] == "commonName"]
    uris = [str(pair[1]) for pair in _pairs(certificate, "subjectAltName") if pair[0] == "URI"]
    if len(names) != 1 or len(uris) != 1:
        return None, ""
    identity = spiffe_id_from_text(uris[0])
    return (identity, names[0]) if identity else (None, "")


def _pairs(certificate: object, member: str) -> tuple[tuple[object, ...], ...]:
    value = certificate.get(member, ()) if isinstance(certificate, dict) else ()
    return tuple(_as_tuple(one) for one in _as_tuple(value))


def _as_tuple(value: object) -> tuple[tuple[object, ...], ...]:
    return value if isinstance(value, tuple) else ()


def _peer_uid(connection: socket.socket | None) -> int:
    if connection is None:
        return -1
    if hasattr(socket, "SO_PEERCRED"):
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", data)[1])
    data = connection.getsockopt(0, _LOCAL_PEERCRED, 76)
    return int(struct.unpack_from("II", data)[1])
