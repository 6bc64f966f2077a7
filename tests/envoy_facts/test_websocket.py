"""Facts of Envoy: WebSocket passes on ordinary HTTP ports, nothing else is upgraded, and no time limit cuts it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.certificates import client_context
from support.envoy import free_port
from support.loopback import Connection, echo_server, tcp_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import (
    KEY,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    identity,
    outbound,
    rule,
    target,
    targets,
)
from weft.mesh.routes.rules import Forward, WeightedBackend
from weft.mesh.services.service import Protocol

HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: aaaa")
URL, HOST = "http://reviews:9080/ws", "reviews:9080"


async def _echoes(client: Connection) -> bool:
    client.writer.write(b"hello")
    return await asyncio.wait_for(client.reader.readexactly(5), 10) == b"hello"


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.AUTO, Protocol.WEBSOCKET])
async def test_websocket_passes_on_every_http_port(protocol: Protocol, tmp_path: Path) -> None:
    async with echo_server("chat") as application:
        view = calling_itself(application.port, to=backend(protocol=protocol), protocol=protocol)
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            assert (await client.request(URL, HOST, *HANDSHAKE)).status == 101
            assert await _echoes(client)


async def test_http2_applications_are_not_asked_to_upgrade(tmp_path: Path) -> None:
    async with echo_server("grpc") as application:
        view = calling_itself(application.port, to=backend(protocol=Protocol.HTTP2), protocol=Protocol.HTTP2)
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            assert (await client.request(URL, HOST, *HANDSHAKE)).status >= 400
        assert application.requests == 0


async def test_sixty_share_a_connection(tmp_path: Path) -> None:
    async with echo_server("chat") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        opened = asyncio.Barrier(60)

        async def talk() -> None:
            async with Connection(pair.proxy) as client:
                assert (await client.request(URL, HOST, *HANDSHAKE)).status == 101
                await opened.wait()
                assert await _echoes(client)

        await asyncio.gather(*(talk() for _ in range(60)))


async def test_the_times_of_a_route_end_with_the_handshake(tmp_path: Path) -> None:
    seconds = 1.0
    times = Forward((WeightedBackend(KEY),), timeout=seconds, per_try_timeout=seconds)
    async with (
        echo_server("chat") as application,
        running_pair(calling_itself(application.port, [rule(times)]), tmp_path) as pair,
        asyncio.timeout(60),
    ):
        while True:  # on a busy machine a handshake may take longer than the route allows
            async with Connection(pair.proxy) as client:
                if (await client.request(URL, HOST, *HANDSHAKE)).status == 101:
                    await asyncio.sleep(1.2 * seconds)
                    assert await _echoes(client)
                    return


async def test_websocket_enters_at_a_gateway(tmp_path: Path) -> None:
    port = free_port()
    async with echo_server("chat") as application:
        view = gateway(
            gateway_port(port), targets=targets(target(endpoint(application.port), to=backend(transport=PLAINTEXT)))
        )
        async with running_view(view, tmp_path), Connection(port) as client:
            assert (await client.request("/ws", "shop.example.com", *HANDSHAKE)).status == 101
            assert await _echoes(client)


async def test_websocket_passes_to_hosts_outside(tmp_path: Path) -> None:
    async with echo_server("elsewhere") as other:
        where = f"127.0.0.1:{other.port}"
        view = calling_itself(1, view=outbound(allow_any=True))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            assert (await client.request(f"http://{where}/ws", where, *HANDSHAKE)).status == 101
            assert await _echoes(client)


@pytest.mark.parametrize("protocol", ["h2c", "tls/1.2", "websocket, h2c", "connect-udp"])
async def test_nothing_else_is_upgraded(protocol: str, tmp_path: Path) -> None:
    """Upgrades over which requests could be smuggled past the proxy's rules."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        async with Connection(pair.proxy) as client:
            answer = await client.request("http://reviews:9080/", HOST, *upgrade)
        assert answer.status in (200, 403, 404)
        if answer.status == 200:
            assert not {"upgrade", "http2-settings"} & set(answer.json()["headers"])
        assert application.requests == (answer.status == 200)


@pytest.mark.parametrize(("protocol", "asked"), [("websocket", 1), ("h2c", 0), ("connect-udp", 0), ("", 0)])
async def test_a_proxy_of_the_mesh_can_ask_for_nothing_else_over_http2(
    protocol: str, asked: int, tmp_path: Path
) -> None:
    """Extended CONNECT (RFC 8441), and CONNECT itself, in frames of RFC 9113 with plain literals of RFC 7541."""
    pseudo = {":method": "CONNECT", ":protocol": protocol, ":scheme": "http", ":path": "/", ":authority": HOST}
    if not protocol:
        pseudo = {":method": "CONNECT", ":authority": HOST}
    block = b"".join(b"\0" + _literal(name) + _literal(text) for name, text in pseudo.items())
    async with echo_server("chat") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        leaf = pair.authority.issue(uri=str(identity("productpage")))
        context = client_context(pair.authority, leaf, tmp_path, alpn=("h2",))
        async with Connection(pair.inbound, context) as client:
            client.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS) + _frame(_HEADERS, 4, 1, block))
            while (await _kind(client)) not in (_HEADERS, _RESET, _GOAWAY):
                pass
        assert application.requests == asked


@pytest.mark.parametrize("status", [200, 404, 426])
async def test_what_follows_a_refused_handshake_is_no_request(status: int, tmp_path: Path) -> None:
    """Otherwise a client could send a second request that no rule has seen."""
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode())

    async with tcp_server(refuse) as application, running_pair(calling_itself(application), tmp_path) as pair:
        async with Connection(pair.proxy) as client:
            client.writer.write("\r\n".join([f"GET {URL} HTTP/1.1", f"Host: {HOST}", *HANDSHAKE, "", ""]).encode())
            client.writer.write(b"GET /smuggled HTTP/1.1\r\nHost: reviews\r\n\r\n")
            answer = await _until_closed(client)
        if status != 200:
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        async with Connection(pair.proxy) as client:
            assert (await client.request("http://reviews:9080/after", HOST)).status == status
    assert [head.split()[1] for head in seen] == [b"/ws", b"/after"]


_HEADERS, _RESET, _SETTINGS, _GOAWAY = 1, 3, 4, 7


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


async def _kind(client: Connection) -> int:
    """The kind of the next frame."""
    head = await asyncio.wait_for(client.reader.readexactly(9), 60)
    await client.reader.readexactly(int.from_bytes(head[:3]))
    return head[3]


async def _until_closed(client: Connection) -> bytes:
    found = b""
    try:
        while data := await asyncio.wait_for(client.reader.read(4096), 10):
            found += data
    except ConnectionError:
        pass
    return found
