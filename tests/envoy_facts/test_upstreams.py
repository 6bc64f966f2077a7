"""Facts of Envoy: loopback ports that lead to a service, for HTTP, for TCP, and where nobody said which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import calling_itself, running_pair
from support.views import BACKEND, HOST, backend, outbound, prefix, rule, virtual_host
from weft.mesh.services.service import Protocol
from weft.mesh.views import SidecarView, UpstreamPort
from weft.model.workload import SocketAddress


def _with_upstream(application: int, protocol: Protocol) -> tuple[SidecarView, int]:
    port = free_port()
    view = outbound(
        virtual_hosts=(virtual_host([rule(match=prefix("/only"))]),), backends=(backend(protocol=protocol),)
    )
    upstream = UpstreamPort(SocketAddress("127.0.0.1", port), HOST, 9080, protocol, BACKEND)
    return replace(calling_itself(application, view=view, protocol=protocol), upstreams=(upstream,)), port


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.AUTO])
async def test_http_follows_the_rules_of_the_service_whatever_the_host(protocol: Protocol, tmp_path: Path) -> None:
    async with echo_server("reviews") as application:
        view, port = _with_upstream(application.port, protocol)
        async with running_pair(view, tmp_path), Connection(port) as client:
            assert (await client.request("/only/this", f"127.0.0.1:{port}")).headers["x-app"] == "reviews"
            assert (await client.request("/else", "localhost")).status == 404


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.AUTO])
async def test_any_protocol_passes_also_when_the_server_speaks_first(protocol: Protocol, tmp_path: Path) -> None:
    async with greeting_server(b"ready") as application:
        view, port = _with_upstream(application, protocol)
        async with running_pair(view, tmp_path), Connection(port) as client:
            assert await client.reader.readexactly(5) == b"ready"
            client.writer.write(b"\x16\x03\x01select 1;")
            assert await client.reader.readexactly(12) == b"\x16\x03\x01select 1;"
