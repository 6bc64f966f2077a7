"""Facts of Envoy: connections end when a policy's times are over, in each way there is to a backend."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import calling_itself, running_pair
from support.views import BACKEND, NAMES, backend, outbound, tunnel, upstream_port, virtual_host
from weft.mesh.services.service import ConnectionLimits, Protocol, TrafficPolicy
from weft.mesh.views import SidecarView

TIMES = [ConnectionLimits(tcp_idle_timeout=1.0), ConnectionLimits(max_connection_duration=1.0)]


def _view(application: int, protocol: Protocol, limits: ConnectionLimits, upstream: int) -> SidecarView:
    """A sidecar that calls itself over a tunnel (for TCP) and over the loopback port `upstream`."""
    policy = TrafficPolicy(limits=limits)
    tcp, to = protocol is Protocol.TCP, backend(protocol=protocol, policy=policy)
    view = outbound(virtual_hosts=() if tcp else (virtual_host(),), tunnels=(tunnel(NAMES, 9080),) if tcp else ())
    port = upstream_port(upstream, to, None if tcp else virtual_host())
    return replace(calling_itself(application, view=view, to=to, protocol=protocol), upstreams=(port,))


@pytest.mark.parametrize("limits", TIMES, ids=["idle", "longest"])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.AUTO])
async def test_an_upstream_port_closes_tcp_in_time(
    protocol: Protocol, limits: ConnectionLimits, tmp_path: Path
) -> None:
    upstream = free_port()
    async with (
        greeting_server(b"ready") as application,
        running_pair(_view(application, protocol, limits, upstream), tmp_path),
    ):
        began = time.monotonic()
        async with Connection(upstream) as client:
            assert await client.reader.readexactly(5) == b"ready"
            assert await _closed(client, began) > 0.9, "of a second; Envoy counts from a little earlier"


@pytest.mark.parametrize("limits", TIMES, ids=["idle", "longest"])
async def test_a_tunnel_closes_in_time(limits: ConnectionLimits, tmp_path: Path) -> None:
    async with greeting_server(b"ready") as application:
        view = _view(application, Protocol.TCP, limits, free_port())
        async with running_pair(view, tmp_path) as pair:
            began = time.monotonic()
            async with Connection(pair.proxy) as client:
                assert (await client.request("reviews:9080", "reviews:9080", method="CONNECT")).status == 200
                assert await client.reader.readexactly(5) == b"ready"
                assert await _closed(client, began) > 0.9, "of a second; Envoy counts from a little earlier"


@pytest.mark.parametrize("limits", TIMES, ids=["idle", "longest"])
async def test_a_connection_that_carries_http_is_closed_in_time_and_the_next_request_opens_another(
    limits: ConnectionLimits, tmp_path: Path
) -> None:
    async with echo_server("reviews") as application:
        view = _view(application.port, Protocol.HTTP, limits, free_port())
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            for connections in (1, 2):
                assert (await client.request("http://reviews:9080/", "reviews:9080")).status == 200
                assert await pair.envoy.stat(f"cluster.{BACKEND}.upstream_cx_total") == connections
                deadline = time.monotonic() + 60
                while await pair.envoy.stat(f"cluster.{BACKEND}.upstream_cx_active"):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)


async def _closed(client: Connection, began: float) -> float:
    """Seconds from `began`, when there was no connection yet, until the other side closes it."""
    assert await asyncio.wait_for(client.reader.read(), 60) == b""
    return time.monotonic() - began
