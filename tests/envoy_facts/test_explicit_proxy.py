"""Facts of Envoy: what a client of the explicit proxy can do, with absolute-form requests and with CONNECT."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import calling_itself, running_pair
from support.views import (
    backend,
    endpoint,
    inbound,
    outbound,
    prefix,
    rule,
    sidecar,
    target,
    targets,
    tunnel,
    virtual_host,
)
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.views import Refusal
from weft.model.workload import SocketAddress

DATABASE = BackendKey("db.default.svc.cluster.local", 5432)


@pytest.mark.parametrize(
    "authority",
    ["reviews:9080", "reviews.default.svc.cluster.local:9080", "reviews", "REVIEWS:9080", "reviews.:9080"],
)
async def test_absolute_form_is_routed_by_host(authority: str, tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        async with Connection(pair.proxy) as client:
            answer = await client.request(f"http://{authority}/a/b?c=d", authority)
        assert answer.status == 200
        assert answer.json()["path"] == "/a/b?c=d"
        assert answer.headers["x-app"] == "reviews"


async def test_connect_leads_into_the_same_routes(tmp_path: Path) -> None:
    async with (
        echo_server("reviews") as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
        Connection(pair.proxy) as client,
    ):
        assert (await client.request("reviews:9080", "reviews:9080", method="CONNECT")).status == 200
        for path in ("/one", "/two"):
            assert (await client.request(path, "reviews:9080")).json()["path"] == path


async def test_connect_to_a_tcp_port_carries_bytes(tmp_path: Path) -> None:
    listen = free_port()
    async with greeting_server(b"welcome") as database:
        view = sidecar(
            outbound(
                virtual_hosts=(),
                tunnels=(tunnel(("db",), 5432, DATABASE),),
            ),
            targets=targets(target(endpoint(listen), to=backend(DATABASE, protocol=Protocol.TCP))),
            inbound=(inbound(listen, database, port=5432, protocol=Protocol.TCP),),
            proxy_listen=SocketAddress("127.0.0.1", free_port()),
        )
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            assert (await client.request("db:5432", "db:5432", method="CONNECT")).status == 200
            assert await client.reader.readexactly(7) == b"welcome"
            client.writer.write(b"\x00\x01binary")
            assert await client.reader.readexactly(8) == b"\x00\x01binary"


async def test_unknown_hosts_are_refused_when_only_the_registry_counts(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        async with Connection(pair.proxy) as client:
            answer = await client.request("http://example.com/", "example.com")
            assert answer.status == 502
            assert b"no service or document" in answer.body
        async with Connection(pair.proxy) as client:
            assert (await client.request("example.com:443", "example.com:443", method="CONNECT")).status == 502


async def test_unknown_hosts_are_resolved_when_any_is_allowed(tmp_path: Path) -> None:
    view = calling_itself(1, view=outbound(allow_any=True))
    async with echo_server("elsewhere") as other, running_pair(view, tmp_path) as pair:
        where = f"127.0.0.1:{other.port}"
        async with Connection(pair.proxy) as client:
            answer = await client.request(f"http://{where}/x", where)
            assert (answer.status, answer.headers["x-app"]) == (200, "elsewhere")
        async with Connection(pair.proxy) as client:
            assert (await client.request(where, where, method="CONNECT")).status == 200
            assert (await client.request("/inside", where)).json()["path"] == "/inside"


@pytest.mark.parametrize("allow_any", [True, False])
async def test_names_that_lead_nowhere_are_answered_with_a_sentence(allow_any: bool, tmp_path: Path) -> None:
    refusals = (
        Refusal(("reviews", "reviews.default"), False, "reviews.default has no such port; it has 9080"),
        Refusal(("reviewz",), True, "no Service is called 'reviewz'"),
    )
    tunnels = (tunnel(("db",), 5432, DATABASE),)
    ours = outbound(allow_any=allow_any, refusals=refusals, tunnels=tunnels)
    view = calling_itself(1, view=ours, others=(target(endpoint(1), to=backend(DATABASE, protocol=Protocol.TCP)),))
    async with running_pair(view, tmp_path) as pair:
        for authority, told in (
            ("reviews:8001", b"weft: reviews.default has no such port; it has 9080\n"),
            ("Reviews.default.:1", b"has no such port"),
            ("reviewz", b"no Service is called 'reviewz'"),
            ("reviewz:9080", b"no Service is called 'reviewz'"),
            ("db:5432", b"carries TCP at port 5432"),
        ):
            async with Connection(pair.proxy) as client:
                answer = await client.request(f"http://{authority}/", authority)
            assert (answer.status, told in answer.body) == (502, True), answer
        async with Connection(pair.proxy) as client:
            assert (await client.request("reviews:8001", "reviews:8001", method="CONNECT")).status == 404


async def test_a_name_that_dns_does_not_have_is_said_to_be_unknown(tmp_path: Path) -> None:
    """Names under .onion are answered by the resolver itself (RFC 7686), so nobody is asked."""
    view = calling_itself(1, view=outbound(allow_any=True))
    async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
        answer = await client.request("http://hello.onion:8001/", "hello.onion:8001")
    assert answer.status == 503
    assert answer.body.startswith(b"weft: this proxy knows no service for 'hello.onion:8001'")


async def test_a_known_host_without_a_matching_rule_answers_404(tmp_path: Path) -> None:
    view = calling_itself(1, view=outbound(virtual_hosts=(virtual_host([rule(match=prefix("/only"))]),)))
    async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
        assert (await client.request("http://reviews:9080/", "reviews:9080")).status == 404
