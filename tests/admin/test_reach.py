"""What the control plane says about a workload's listeners: reached, not reached, or somebody else's."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from support.loopback import tcp_server
from weft.admin.reach import reach_context, unreachable
from weft.admin.registrations import check_reachable
from weft.admin.replies import Refused
from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.model.identity import SpiffeId
from weft.model.workload import SocketAddress, Workload, WorkloadPort

WEB = SpiffeId("cluster.local", "default", "web")


def listener(authority: Authority, directory: Path, account: str) -> ssl.SSLContext:
    """The server side of a workload's inbound listener, which wants a certificate of its callers."""
    fresh = make_key()
    issued = authority.issue(fresh.csr, SpiffeId("cluster.local", "default", account), f"{account}.default")
    path = directory / f"{account}.pem"
    path.write_text(fresh.key + issued.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=issued.bundle)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def ask(authority: Authority, port: int) -> str:
    found = await unreachable([SocketAddress("127.0.0.1", port)], WEB, reach_context(authority.bundle))
    return found[0][1] if found else ""


async def test_listeners_prove_themselves(tmp_path: Path) -> None:
    ours, other = open_authority(tmp_path / "ca"), open_authority(tmp_path / "other")

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for authority, account, words in ((ours, "web", ""), (ours, "api", "sa/api"), (other, "web", "not of this mesh")):
        server = await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=listener(authority, tmp_path, account))
        found = await ask(ours, server.sockets[0].getsockname()[1])
        assert (words in found) if words else not found
        server.close()
        await server.wait_closed()


async def test_a_listener_without_tls_is_reached_and_a_closed_port_is_not(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with tcp_server(plain) as port:
        assert await ask(authority, port) == ""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "refused" in (await ask(authority, port)).lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_loopback_is_refused_to_a_workload_of_another_host(host: str) -> None:
    inbound = WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress(host, 23456))
    workload = Workload("web", "default", "web", ports=(inbound,))
    check_reachable(workload, "127.0.0.1")
    check_reachable(Workload("web", "default", "web"), "10.0.0.7")
    with pytest.raises(Refused, match=r":23456.*--inbound-address"):
        check_reachable(workload, "10.0.0.7")


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "10.0.0.8", "0.0.0.0"])
def test_prometheus_is_sent_to_the_workloads_own_host_only(host: str) -> None:
    workload = Workload("web", "default", "web", metrics=SocketAddress(host, 15020))
    with pytest.raises(Refused, match="Prometheus is sent there"):
        check_reachable(workload, "10.0.0.7")
    check_reachable(Workload("web", "default", "web", metrics=SocketAddress("10.0.0.7", 15020)), "10.0.0.7")
    check_reachable(workload, "127.0.0.1")
