"""Facts of Envoy behind words of VirtualService and of weft: hedging, statistics of a match, other localities."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.envoy import RunningEnvoy, free_port
from support.loopback import Connection, Response, echo_server, tcp_server
from support.proxy import running_view
from support.views import PLAINTEXT, backend, endpoint, gateway, gateway_port, rule, target, targets, virtual_host
from weft.mesh.routes.rules import Forward, Retry, Rule, WeightedBackend
from weft.mesh.services.service import BackendKey, EndpointGroup, EndpointSet, Target
from weft.model.locality import Locality

KEY = BackendKey("slow.example", 80)
HEDGED = Retry(attempts=2, conditions=("reset-before-request",), per_try_timeout=0.3, other_host=True)


@asynccontextmanager
async def serving(
    tmp_path: Path, made: Rule, *ports: int, to: Target | None = None
) -> AsyncIterator[tuple[int, RunningEnvoy]]:
    """A gateway with one rule, to instances at these ports."""
    port = free_port()
    host = virtual_host([made], domains=("*",), name="every-host", port=80)
    to = to or target(*(endpoint(each) for each in ports), to=backend(KEY, transport=PLAINTEXT))
    async with running_view(gateway(gateway_port(port, virtual_hosts=(host,)), targets=targets(to)), tmp_path) as (
        envoy,
        _,
    ):
        yield port, envoy


async def ask(port: int, method: str = "GET") -> Response:
    async with Connection(port) as client:
        return await client.request("/", "slow.example", method=method)


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 504)])
async def test_a_slow_try_of_what_changes_nothing_goes_on_beside_the_next(
    tmp_path: Path, method: str, status: int
) -> None:
    asked = Counter[str]()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers long after the time of a try."""
        head = await reader.readuntil(b"\r\n\r\n")
        asked[head.split(b" ")[0].decode()] += 1
        await asyncio.sleep(5)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    forward = Forward((WeightedBackend(KEY),), retry=HEDGED, hedge=True)
    async with tcp_server(slow) as at, serving(tmp_path, rule(forward), at) as (port, _):
        assert (await ask(port, method)).status == status
        assert asked[method] == (3 if status == 200 else 1), "nobody cancelled the first try, which answered"


async def test_without_hedging_a_slow_try_is_cancelled(tmp_path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(5)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    forward = Forward((WeightedBackend(KEY),), retry=HEDGED)
    async with tcp_server(slow) as at, serving(tmp_path, rule(forward), at) as (port, _):
        assert (await ask(port)).status == 504


async def test_a_match_with_a_prefix_has_statistics_of_its_own(tmp_path: Path) -> None:
    async with (
        echo_server("app") as app,
        serving(tmp_path, rule(Forward((WeightedBackend(KEY),)), stat_prefix="shop"), app.port) as (port, envoy),
    ):
        for _ in range(3):
            assert (await ask(port)).status == 200
        assert "vhost.every-host.route.shop.upstream_rq_total: 3" in await envoy.get("/stats?filter=route.shop")


@pytest.mark.parametrize(("other_locality", "status"), [(True, 200), (False, 503)])
async def test_retries_leave_localities_that_were_tried(tmp_path: Path, other_locality: bool, status: int) -> None:
    async def ill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 503 Ill\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()

    forward = Forward((WeightedBackend(KEY),), retry=Retry(3, ("5xx",), other_locality=other_locality))
    async with tcp_server(ill) as at, echo_server("far") as far:
        near, away = (endpoint(at),), (endpoint(far.port),)
        groups = EndpointGroup(Locality("here"), near), EndpointGroup(Locality("there"), away, priority=1)
        to = Target(backend(KEY, transport=PLAINTEXT), EndpointSet(KEY, (*near, *away), groups))
        async with serving(tmp_path, rule(forward), to=to) as (port, _):
            assert (await ask(port)).status == status
