"""Certificates that look right and are not: expired ones, and those of another mesh with the same trust domain."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import time
from pathlib import Path

import pytest

from support.http import tls_context
from support.mesh import Mesh
from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.model.identity import SpiffeId
from weft.settings.home import Home

CLIENT = SpiffeId("cluster.local", "default", "client")


@pytest.fixture
def bundle(target: Mesh) -> str:
    return str(target.home / "control-plane/trust-bundle.pem")


def own_authority(mesh: Mesh, directory: Path, ahead: float) -> Authority:
    """The mesh's own authority, as it would have been `ahead` seconds from now."""
    shutil.copytree(Home(mesh.home).ca, directory / "ca")
    return open_authority(directory / "ca", clock=lambda: time.time() + ahead)


def context_of(authority: Authority, bundle: str, directory: Path, alpn: str, life: float = 3600.0) -> ssl.SSLContext:
    """What a client shows that has a certificate for the client's identity."""
    made = make_key()
    issued = authority.issue(made.csr, CLIENT, "client.default", life)
    (directory / "chain.pem").write_text(issued.chain)
    (directory / "key.pem").write_text(made.key)
    context = tls_context(bundle, str(directory / "chain.pem"), str(directory / "key.pem"))
    context.set_alpn_protocols([alpn])
    return context


def answered(address: tuple[str, int], context: ssl.SSLContext, request: bytes) -> bytes:
    """The first bytes that come back; none if the hand-shake is refused, which TLS 1.3 tells at the first read."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address, 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(request)
        return tls.recv(100)
    return b""


def ports(mesh: Mesh) -> dict[str, tuple[tuple[str, int], str, bytes]]:
    """Where a certificate of the mesh gets in: address, ALPN, and something to say."""
    found = mesh.endpoints()

    def address(name: str) -> tuple[str, int]:
        host, _, port = found[name].rpartition(":")
        return host, int(port)

    lease = json.dumps({"state": "healthy"}).encode()
    head = b"POST /v1/workloads/default/client/lease HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    return {
        "inbound": (mesh.inbound_of("shop"), "http/1.1", b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n"),
        "xds": (address("xds"), "h2", preface),
        "agent": (address("agent_api"), "http/1.1", head + f"{len(lease)}\r\n\r\n".encode() + lease),
    }


@pytest.mark.parametrize("where", ["inbound", "xds", "agent"])
def test_a_certificate_that_has_expired_gets_nobody_in(target: Mesh, bundle: str, where: str, tmp_path: Path) -> None:
    address, alpn, request = ports(target)[where]
    authority = own_authority(target, tmp_path, 0.0)
    assert answered(address, context_of(authority, bundle, tmp_path, alpn), request), "a good one does"
    earlier = open_authority(tmp_path / "ca", clock=lambda: time.time() - 120.0)
    expired = context_of(earlier, bundle, tmp_path, alpn, life=60.0)
    assert answered(address, expired, request) == b""


@pytest.mark.parametrize("where", ["inbound", "xds", "agent"])
def test_another_mesh_of_the_same_trust_domain_gets_nobody_in(
    target: Mesh, bundle: str, where: str, tmp_path: Path
) -> None:
    """Same trust domain, same names, same form: only the root is another."""
    address, alpn, request = ports(target)[where]
    other = context_of(open_authority(tmp_path / "other"), bundle, tmp_path, alpn)
    assert answered(address, other, request) == b""
