"""Facts of Envoy: loopback ports that lead to a service, for HTTP, for TCP, and where nobody said which."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import calling_itself, running_pair
from support.views import backend, outbound, prefix, rule, upstream_port, virtual_host
from weft.mesh.services.service import Protocol
from weft.mesh.views import SidecarView


def _with_upstream(application: int, protocol: Protocol) -> tuple[SidecarView, int]:
    port = free_port()
    host, to = virtual_host([rule(match=prefix("/only"))]), backend(protocol=protocol)
    upstream = upstream_port(port, to, None if protocol is Protocol.TCP else host)
    view = calling_itself(application, view=outbound(virtual_hosts=(host,)), to=to, protocol=protocol)
    return replace(view, upstreams=(upstream,)), port


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


def _client_hello() -> bytes:
    """The first bytes of TLS of a client that offers HTTP inside, as every browser does."""
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    context.set_alpn_protocols(["http/1.1"])
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="b.example.com").do_handshake()
    return sent.read()


async def test_tls_that_offers_http_is_no_http_where_rules_ask_for_server_names(tmp_path: Path) -> None:
    async with greeting_server(b"ready") as application:
        view, port = _with_upstream(application, Protocol.AUTO)
        [upstream] = view.upstreams
        [route] = upstream.connections.routes()
        named = (("a.example.com", route),)
        changed = replace(upstream, connections=replace(upstream.connections, by_name=named))
        async with running_pair(replace(view, upstreams=(changed,)), tmp_path), Connection(port) as client:
            hello = _client_hello()
            client.writer.write(hello)
            assert await client.reader.readexactly(5 + len(hello)) == b"ready" + hello
