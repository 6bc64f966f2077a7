"""Facts of Envoy: HTTP/1.0, where a ProxyConfig has it taken. The client is a socket, so that nothing is added to what
it says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import echo_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import gateway, gateway_port
from weft.mesh.services.service import MutualTlsMode
from weft.mesh.views import SidecarView

_TOLD = {
    "a request with its host": b"GET /x HTTP/1.0\r\nHost: reviews\r\n\r\n",
    "a body of known length": b"POST /x HTTP/1.0\r\nHost: reviews\r\nContent-Length: 3\r\n\r\nabc",
    "an absolute target, whose host is the request's": b"GET http://reviews/x HTTP/1.0\r\n\r\n",
}
_REFUSED = {
    "no host": b"GET /x HTTP/1.0\r\n\r\n",
    "no host, and more behind it": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "two lengths": b"POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


async def said(port: int, sent: bytes) -> bytes:
    """What comes back until the proxy closes, which it does by itself after an answer to HTTP/1.0."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


def view(application: int, http10: bool) -> SidecarView:
    """A proxy that takes plaintext, and calls itself."""
    found = calling_itself(application, mode=MutualTlsMode.PERMISSIVE, http10=http10)
    return replace(found, http10=http10)


@pytest.mark.parametrize("sent", [pytest.param(text, id=name) for name, text in _TOLD.items()])
async def test_requests_that_name_their_host_arrive(sent: bytes, tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(view(application.port, True), tmp_path) as pair:
        answer = await said(pair.inbound, sent)
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in answer
        assert b'"host": "reviews"' in answer
        assert application.requests == 1


async def test_a_request_without_a_host_meets_no_filter_and_no_application(tmp_path: Path) -> None:
    """There is no default host: a policy that lets or keeps out by host has nothing to guess."""
    async with echo_server("reviews") as application, running_pair(view(application.port, True), tmp_path) as pair:
        for name, sent in _REFUSED.items():
            reader, writer = await asyncio.open_connection("127.0.0.1", pair.inbound)
            writer.write(sent)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.0 400 "), name
            assert b"connection: close" in head, name
            writer.close()
        assert application.requests == 0
        assert await pair.envoy.stat("http.inbound.downstream_rq_4xx") == len(_REFUSED)


async def test_applications_call_with_it(tmp_path: Path) -> None:
    """The target names the host, and the header cannot say another one. Within a CONNECT it is taken, too."""
    async with echo_server("reviews") as application, running_pair(view(application.port, True), tmp_path) as pair:
        for host in ("", "Host: other\r\n"):
            answer = await said(pair.proxy, f"GET http://reviews:9080/x HTTP/1.0\r\n{host}\r\n".encode())
            assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
            assert b'"host": "reviews:9080"' in answer
        inside = b"GET /x HTTP/1.0\r\nHost: reviews:9080\r\n\r\n"
        answer = await said(pair.proxy, b"CONNECT reviews:9080 HTTP/1.0\r\n\r\n" + inside)
        assert answer.count(b"HTTP/1.0 200 OK\r\n") == 2
        assert application.requests == 3
        assert (await said(pair.proxy, b"GET /x HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 400 ")


async def test_it_is_refused_by_name_where_nobody_asks_for_it(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(view(application.port, False), tmp_path) as pair:
        for port in (pair.inbound, pair.proxy):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET http://reviews:9080/ HTTP/1.0\r\nHost: reviews\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 426 ")
            writer.close()
        assert application.requests == 0


@pytest.mark.parametrize("http10", [True, False])
async def test_at_a_gateway(http10: bool, tmp_path: Path) -> None:
    listen = free_port()
    async with running_view(gateway(gateway_port(listen, http10=http10)), tmp_path):
        for host, status in (("Host: reviews\r\n", 503), ("", 400)):  # nobody is behind it
            reader, writer = await asyncio.open_connection("127.0.0.1", listen)
            writer.write(f"GET / HTTP/1.0\r\n{host}\r\n".encode())
            assert int((await reader.readline()).split()[1]) == (status if http10 else 426)
            writer.close()
