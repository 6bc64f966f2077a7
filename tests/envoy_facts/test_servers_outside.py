"""Facts of Envoy: how connections to servers without a proxy begin: HTTP's version, PROXY protocol, and CONNECT."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.certificates import TestAuthority
from support.envoy import free_port, running_envoy
from support.loopback import Connection, tcp_server
from support.proxy import running_view
from support.tls_server import tls_server
from support.views import (
    KEY,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    outbound,
    rule,
    sidecar,
    target,
    targets,
    tunnel,
    upstream_port,
    virtual_host,
)
from weft.mesh.routes.rules import Forward, Retry, WeightedBackend
from weft.mesh.services.service import HttpVersion, Protocol, RetryBudget, Tls, TrafficPolicy, Transport
from weft.mesh.views import GatewayView
from weft.model.workload import SocketAddress
from weft.xds.services.names import cluster_name

HOST = "api.example.test"
TARGET = "db.example.test:5432"


class Line:
    """A server that keeps the first line of each connection, answers 200 without a body and echoes what follows."""

    def __init__(self) -> None:
        self.port = 0
        self.lines: list[str] = []
        self.begun = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.lines.append((await reader.readline()).decode("latin-1").rstrip())
            self.begun.set()
            if self.lines[-1].startswith("PROXY"):
                self.lines.append((await reader.readline()).decode().rstrip())
            while (await reader.readline()).strip():
                pass
            connect = self.lines[-1].startswith("CONNECT")
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"" if connect else b"content-length: 0\r\n") + b"\r\n")
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def line_server() -> AsyncIterator[Line]:
    line = Line()
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()


def _view(listen: int, server: int, policy: TrafficPolicy, transport: Transport = PLAINTEXT) -> GatewayView:
    to = backend(policy=policy, transport=transport)
    host = virtual_host(name="all", domains=("*",), port=0)
    found = target(endpoint(server, mutual_tls=False), to=to)
    return gateway(gateway_port(listen, (host,)), targets=targets(found))


@pytest.mark.parametrize(
    ("version", "offered", "agreed"),
    [
        (HttpVersion.USUAL, ("h2", "http/1.1"), "http/1.1"),
        (HttpVersion.HTTP2, ("h2", "http/1.1"), "h2"),
        (HttpVersion.HTTP2, ("http/1.1",), "http/1.1"),
        (HttpVersion.CALLERS, ("h2", "http/1.1"), "http/1.1"),
    ],
)
async def test_tls_agrees_on_the_version_that_is_asked_for(
    version: HttpVersion, offered: tuple[str, ...], agreed: str, tmp_path: Path
) -> None:
    public, port = TestAuthority(), free_port()
    async with tls_server(public.issue(dns=(HOST,)), alpn=offered) as server:
        tls = Tls(host=HOST, authorities=public.bundle)
        view = _view(port, server.port, TrafficPolicy(version=version), tls)
        async with running_view(view, tmp_path), Connection(port) as client:
            answer = await client.request("/", HOST)
            assert server.protocols[0] == agreed
            assert answer.status == (200 if agreed == "http/1.1" else 502)  # the server speaks no HTTP/2


@pytest.mark.parametrize(("version", "begins"), [("V1", "PROXY TCP4 127.0.0.1 127.0.0.1 "), ("V2", "")])
async def test_proxy_protocol_tells_who_called(version: str, begins: str, tmp_path: Path) -> None:
    port = free_port()
    async with line_server() as line:
        policy = TrafficPolicy(proxy_protocol="V1" if version == "V1" else "V2")
        async with running_view(_view(port, line.port, policy), tmp_path), Connection(port) as client:
            asking = asyncio.create_task(client.request("/there", HOST))
            await asyncio.wait_for(line.begun.wait(), 60)
            if version == "V1":
                assert (await asking).status == 200
                assert line.lines[0].startswith(begins) and line.lines[1] == "GET /there HTTP/1.1"
            else:
                asking.cancel()
                assert line.lines[0] == ""  # the signature begins with a line break
                with contextlib.suppress(asyncio.CancelledError):
                    await asking


@contextlib.asynccontextmanager
async def failing_server() -> AsyncIterator[int]:
    """Answers 503 after a while, so that several retries are under way at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.1)
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("budget", "refused"), [(None, False), (RetryBudget(0.0, 1), True), (RetryBudget(0.0, 10), False)]
)
async def test_retries_have_a_budget(budget: RetryBudget | None, refused: bool, tmp_path: Path) -> None:
    port = free_port()
    async with failing_server() as server:
        action = Forward((WeightedBackend(KEY),), retry=Retry(attempts=1, conditions=("5xx",)))
        to = backend(policy=TrafficPolicy(retry_budget=budget), transport=PLAINTEXT)
        host = virtual_host((rule(action),), name="all", domains=("*",), port=0)
        found = target(endpoint(server, mutual_tls=False), to=to)
        view = gateway(gateway_port(port, (host,)), targets=targets(found))

        async def ask() -> int:
            async with Connection(port) as client:
                return (await client.request("/", HOST)).status

        async with running_view(view, tmp_path) as (envoy, _):
            assert set(await asyncio.gather(*[ask() for _ in range(10)])) == {503}
            name = f"cluster.{cluster_name(KEY)}.upstream_rq_retry"
            assert (await envoy.stat(f"{name}_overflow") > 0) is refused
            assert 0 < await envoy.stat(name) <= 10


async def test_connections_are_led_through_an_http_proxy(tmp_path: Path) -> None:
    proxy, listen = free_port(), free_port()
    async with line_server() as line:
        to = backend(protocol=Protocol.TCP, policy=TrafficPolicy(tunnel=TARGET), transport=PLAINTEXT)
        view = sidecar(
            outbound(virtual_hosts=(), tunnels=(tunnel((KEY.host,), KEY.port),)),
            targets=targets(target(endpoint(line.port, mutual_tls=False), to=to)),
            upstreams=(upstream_port(listen, to),),
            proxy_listen=SocketAddress("127.0.0.1", proxy),
        )
        async with running_view(view, tmp_path):
            async with Connection(proxy) as client:
                answer = await client.request(f"{KEY.host}:{KEY.port}", f"{KEY.host}:{KEY.port}", method="CONNECT")
                assert answer.status == 200
                client.writer.write(b"by CONNECT")
                assert await asyncio.wait_for(client.reader.readexactly(10), 10) == b"by CONNECT"
            async with Connection(listen) as client:
                client.writer.write(b"by a loopback port")
                assert await asyncio.wait_for(client.reader.readexactly(18), 10) == b"by a loopback port"
        assert line.lines == [f"CONNECT {TARGET} HTTP/1.1"] * 2


def _post_proxy(listen: int, server: int) -> str:
    """An Envoy that ends tunnels: the bodies of POSTs are connections to a server."""
    extensions = "type.googleapis.com/envoy.extensions.filters"
    ends = {
        "cluster": "server",
        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}],
    }
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "posts",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}],
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": [TARGET], "routes": [{"match": {"prefix": "/"}, "route": ends}]}
            ]
        },
    }

    def at(port: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    chain = {"filters": [{"name": "manager", "typed_config": manager}]}
    members = [{"lb_endpoints": [{"endpoint": {"address": at(server)}}]}]
    cluster = {"name": "server", "load_assignment": {"cluster_name": "server", "endpoints": members}}
    return json.dumps(
        {
            "admin": {"address": {"pipe": {"path": "admin.sock"}}},
            "static_resources": {
                "listeners": [{"name": "in", "address": at(listen), "filter_chains": [chain]}],
                "clusters": [cluster],
            },
        }
    )


async def _speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello ")
    while data := await reader.read(65536):
        writer.write(data)


async def test_connections_are_led_through_a_proxy_that_wants_post(tmp_path: Path) -> None:
    """To a server that is the first to speak, and over which both sides speak for a while."""
    proxy, listen, posts = free_port(), free_port(), free_port()
    for name in ("ours", "posts"):
        (tmp_path / name).mkdir()
    async with tcp_server(_speaks_first) as server:
        to = backend(protocol=Protocol.TCP, policy=TrafficPolicy(tunnel=TARGET, by_post=True), transport=PLAINTEXT)
        view = sidecar(
            outbound(virtual_hosts=(), tunnels=(tunnel((KEY.host,), KEY.port),)),
            targets=targets(target(endpoint(posts, mutual_tls=False), to=to)),
            upstreams=(upstream_port(listen, to),),
            proxy_listen=SocketAddress("127.0.0.1", proxy),
        )
        async with (
            running_envoy(_post_proxy(posts, server), tmp_path / "posts") as other,
            running_view(view, tmp_path / "ours"),
        ):
            async with Connection(proxy) as client:
                answer = await client.request(f"{KEY.host}:{KEY.port}", f"{KEY.host}:{KEY.port}", method="CONNECT")
                assert answer.status == 200
                await _talk(client)
            async with Connection(listen) as client:
                await _talk(client)
            assert await other.stat("http.posts.downstream_rq_total") == 2


async def _talk(client: Connection) -> None:
    assert await asyncio.wait_for(client.reader.readexactly(6), 10) == b"hello "
    for text in (b"one", b"two" * 100_000, b"three"):
        client.writer.write(text)
        assert await asyncio.wait_for(client.reader.readexactly(len(text)), 10) == text
