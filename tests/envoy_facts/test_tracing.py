"""Facts of Envoy: which requests its tracers make spans of, what a span says, and what is passed on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port
from support.loopback import Connection, EchoServer, Response, echo_server
from support.proxy import calling_itself, running_pair, running_view
from support.signals import TAGS, with_tracing
from support.spans import Spans, grpc_spans, http_spans
from support.views import (
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    prefix,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.signals import Collector, Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
PEER = "OU=v1,O=reviews,CN=reviews-v1.default"


def to(spans: Spans, **changes: Any) -> Tracing:
    """Traces of every request, to `spans`."""
    collector = Collector(host="127.0.0.1", port=spans.port)
    return replace(Tracing("opentelemetry-grpc", collector, 100.0), **changes)


def zipkin(spans: Spans) -> Tracing:
    """Traces in Zipkin's way of requests whose callers want it."""
    return to(spans, provider="zipkin", sampling=0.0)


def traceparent(sampled: bool) -> str:
    """The header line of a caller that has decided."""
    return f"traceparent: 00-{TRACE}-{PARENT}-0{int(sampled)}"


@contextlib.asynccontextmanager
async def traced_sidecar(tracing: Tracing, directory: Path) -> AsyncIterator[tuple[Connection, EchoServer]]:
    """A client of a sidecar that calls itself."""
    async with echo_server("reviews") as application:
        view = with_tracing(calling_itself(application.port), tracing)
        async with running_pair(view, directory) as pair, Connection(pair.proxy) as client:
            yield client, application


@contextlib.asynccontextmanager
async def traced_gateway(tracing: Tracing, directory: Path) -> AsyncIterator[Connection]:
    """A stranger's connection to a gateway before an application without a proxy."""
    async with echo_server("reviews") as application:
        plain = target(endpoint(application.port, mutual_tls=False), to=backend(transport=PLAINTEXT))
        port = free_port()
        view = gateway(gateway_port(port), targets=targets(plain))
        async with running_view(with_tracing(view, tracing), directory), Connection(port) as client:
            yield client


async def call(client: Connection, *headers: str, path: str = "/") -> Response:
    """One request to reviews."""
    return await client.request(f"http://reviews:9080{path}", "reviews:9080", *headers)


async def test_both_sides_of_a_call_are_spans_of_one_trace(tmp_path: Path) -> None:
    async with grpc_spans() as spans, traced_sidecar(to(spans, tags=TAGS), tmp_path) as (client, _):
        seen = (await call(client)).json()["headers"]["traceparent"].split("-")
        found = {span.kind: span for span in await spans.until(2)}
        caller, callee = found["client"], found["server"]
        assert (callee.trace, callee.parent, caller.parent) == (caller.trace, caller.id, "")
        assert seen == ["00", callee.trace, callee.id, "01"]
        assert (caller.name, callee.name) == ("GET reviews.default.svc.cluster.local:9080", "GET inbound|9080")
        assert caller.attributes["weft.rule"] == "HTTPRoute default/reviews"
        assert caller.attributes["weft.source"] == "mesh.yaml:7"
        assert caller.attributes["weft.peer"] == callee.attributes["weft.peer"] == PEER
        assert caller.attributes["upstream_cluster.name"] == "outbound|9080||reviews.default.svc.cluster.local"
        assert caller.attributes["response_flags"] == "-"
        assert {key: caller.attributes[key] for key in ("team", "user", "zone", "protocol")} == {
            "team": "books", "user": "nobody", "zone": "unknown", "protocol": "HTTP/1.1",
        }  # fmt: skip
        assert caller.resource["service.name"] == "reviews"
        assert caller.resource["service.namespace"] == "default"
        assert caller.resource["service.version"] == "v1"
        assert caller.resource["service.instance.id"] == "reviews-v1.default"


async def test_a_failed_request_is_a_failed_span(tmp_path: Path) -> None:
    async with grpc_spans() as spans, traced_sidecar(to(spans), tmp_path) as (client, application):
        application.status = 503
        assert (await call(client)).status == 503
        assert [span.failed for span in await spans.until(2)] == [True, True]


@pytest.mark.parametrize("sampling", [0.0, 100.0])
@pytest.mark.parametrize("sampled", [True, False])
async def test_inside_the_mesh_the_callers_decision_counts(sampling: float, sampled: bool, tmp_path: Path) -> None:
    async with grpc_spans() as spans, traced_sidecar(to(spans, sampling=sampling), tmp_path) as (client, _):
        answer = await call(client, traceparent(sampled), "tracestate: vendor=1", "baggage: cart=42")
        passed = answer.json()["headers"]
        assert passed["traceparent"].startswith(f"00-{TRACE}-")
        assert passed["traceparent"].endswith(f"-0{int(sampled)}")
        assert (passed["tracestate"], passed["baggage"]) == ("vendor=1", "cart=42")
        await call(client, f"traceparent: 00-{'1' * 32}-{PARENT}-01")
        assert len(await spans.until(2, "1" * 32)) == 2
        assert len(spans.of(TRACE)) == (2 if sampled else 0)


async def test_over_http_with_the_headers_that_were_asked_for(tmp_path: Path) -> None:
    async with http_spans() as spans:
        tracing = to(spans, provider="opentelemetry-http", headers=(("x-tenant", "books"),))
        async with traced_sidecar(tracing, tmp_path) as (client, _):
            await call(client)
            assert len(await spans.until(2)) == 2
            assert spans.metadata["x-tenant"] == "books"


@pytest.mark.parametrize("decide", [False, True])
@pytest.mark.parametrize("sampled", [True, False])
async def test_a_stranger_gives_ids_and_no_decision(decide: bool, sampled: bool, tmp_path: Path) -> None:
    """The gateway samples everything, or nothing: the opposite of what the stranger wants."""
    async with grpc_spans() as spans:
        tracing = to(spans, sampling=0.0 if sampled else 100.0, strangers_decide=decide)
        async with traced_gateway(tracing, tmp_path) as client:
            passed = (await client.request("/", "shop", traceparent(sampled))).json()["headers"]["traceparent"]
            kept = sampled if decide else not sampled
            assert passed.startswith(f"00-{TRACE}-")
            assert passed.endswith(f"-0{int(kept)}")
            if kept:
                found = {span.kind: span for span in await spans.until(1 + decide, TRACE)}
                assert found["server"].parent == PARENT


async def test_a_gateway_samples_by_itself_without_a_parent(tmp_path: Path) -> None:
    async with grpc_spans() as spans, traced_gateway(to(spans), tmp_path) as client:
        headers = ("x-request-id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "x-client-trace-id: mine")
        await client.request("/", "shop", *headers)
        [span] = await spans.until(1)
        assert (span.kind, span.name) == ("server", "GET *:80")
        assert span.attributes["weft.rule"] == "HTTPRoute default/reviews"
        assert "weft.peer" not in span.attributes, "it has no proxy, so it has no name that is proved"


def request_id(first: str, version: str = "4") -> str:
    """The header line of a caller that has an id for its request, with these first digits."""
    return f"x-request-id: {first}{'0' * (8 - len(first))}-77b3-{version}da6-a3ce-929d0e0e4736"


async def sampled(client: Connection, *headers: str, path: str = "/") -> bool:
    """Whether a request's span is sent, as its application is told."""
    answer = await call(client, *headers, path=path)
    return str(answer.json()["headers"]["traceparent"]).endswith("-01")


async def test_request_ids_below_the_share_are_sampled(tmp_path: Path) -> None:
    """Whoever passes on only `x-request-id` gets the same decision again."""
    async with grpc_spans() as spans:
        tracing = to(spans, sampling=25.0, by_request_id=True)
        async with traced_sidecar(tracing, tmp_path) as (client, _):
            assert await sampled(client, request_id("3f"))
            assert not await sampled(client, request_id("40"))
            assert not await sampled(client, request_id("ff", version="9")), "Envoy's own yes of another proxy"
            assert not await sampled(client, request_id("3f"), traceparent(False))
            assert await sampled(client, request_id("ff"), traceparent(True))


@pytest.mark.parametrize("by_request_id", [True, False])
async def test_an_id_that_is_no_uuid_does_not_end_a_trace(by_request_id: bool, tmp_path: Path) -> None:
    async with grpc_spans() as spans:
        tracing = to(spans, by_request_id=by_request_id)
        async with traced_sidecar(tracing, tmp_path) as (client, _):
            assert await sampled(client, "x-request-id: order-17", traceparent(True))
            assert not await sampled(client, "x-request-id: order-17", traceparent(False))


async def test_a_route_may_have_a_share_of_its_own(tmp_path: Path) -> None:
    rules = (rule(match=prefix("/all"), sampling=100.0), rule(match=prefix("/none"), sampling=0.0), rule())
    async with grpc_spans() as spans, echo_server("reviews") as application:
        view = with_tracing(calling_itself(application.port, rules), to(spans, sampling=50.0, by_route=True))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            for digit, expected in (("0", True), ("f", False)):
                assert await sampled(client, request_id(digit)) is expected
                assert await sampled(client, request_id(digit), path="/all")
                assert not await sampled(client, request_id(digit), path="/none")
            assert await sampled(client, traceparent(True), path="/none"), "the caller's word comes first"


async def test_what_no_route_takes_is_traced_as_well(tmp_path: Path) -> None:
    async with grpc_spans() as spans:
        host = virtual_host(domains=("shop.example.com",), port=80, name="shop.example.com:80")
        port = free_port()
        view = gateway(gateway_port(port, (host,)))
        async with running_view(with_tracing(view, to(spans)), tmp_path), Connection(port) as client:
            assert (await client.request("/", "elsewhere.example.com")).status == 404
            [span] = await spans.until(1)
            assert span.attributes["response_flags"] == "NR"


async def test_connect_is_a_span_when_its_connection_ends_and_what_is_inside_is_another_trace(tmp_path: Path) -> None:
    async with grpc_spans() as spans, echo_server("reviews") as application:
        view = with_tracing(calling_itself(application.port), to(spans))
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.proxy) as client:
                assert (await client.request("reviews:9080", "reviews:9080", method="CONNECT")).status == 200
                assert (await client.request("/inside", "reviews:9080")).status == 200
                inside = await spans.until(2)
                assert {span.attributes["http.method"] for span in inside} == {"GET"}
            [tunnel] = [span for span in await spans.until(3) if span not in inside]
            assert tunnel.name == "CONNECT reviews.default.svc.cluster.local:9080"
            assert tunnel.trace not in {span.trace for span in inside}


def b3(trace: str, sampled: bool) -> tuple[str, ...]:
    """The header lines of a caller that speaks B3."""
    return (f"x-b3-traceid: {trace}", f"x-b3-spanid: {PARENT}", f"x-b3-sampled: {int(sampled)}")


@pytest.mark.parametrize("single", [False, True])
async def test_zipkin_takes_b3_in_both_forms(single: bool, tmp_path: Path) -> None:
    async with (
        http_spans() as spans,
        traced_sidecar(zipkin(spans), tmp_path) as (client, _),
    ):
        headers = (f"b3: {TRACE}-{PARENT}-1",) if single else b3(TRACE, True)
        passed = (await call(client, *headers)).json()["headers"]
        found = {span.kind: span for span in await spans.until(2, TRACE)}
        assert (found["client"].parent, found["server"].parent) == (PARENT, found["client"].id)
        assert passed.get("x-b3-traceid", passed.get("b3", "")[:32]) == TRACE


async def test_zipkin_takes_and_gives_traceparent_beside_b3(tmp_path: Path) -> None:
    async with (
        http_spans() as spans,
        traced_sidecar(zipkin(spans), tmp_path) as (client, _),
    ):
        passed = (await call(client, traceparent(sampled=True))).json()["headers"]
        assert passed["traceparent"].split("-")[1] == TRACE
        assert len(await spans.until(2, TRACE)) == 2


@pytest.mark.parametrize("headers", [b3(TRACE, True), (f"b3: {TRACE}-{PARENT}-1",), (traceparent(True),)])
@pytest.mark.parametrize("decide", [False, True])
async def test_a_stranger_decides_nothing_with_zipkin(headers: tuple[str, ...], decide: bool, tmp_path: Path) -> None:
    async with http_spans() as spans:
        tracing = replace(zipkin(spans), strangers_decide=decide)
        async with traced_gateway(tracing, tmp_path) as client:
            passed = (await client.request("/", "shop", *headers)).json()["headers"]
            assert passed.get("x-b3-sampled", passed.get("b3", "--0").split("-")[2]) == str(int(decide))
            if decide:
                assert await spans.until(2, TRACE)


@pytest.mark.parametrize("provider", ["opentelemetry-grpc", "opentelemetry-http", "zipkin"])
async def test_no_request_waits_for_a_collector_that_is_away(provider: str, tmp_path: Path) -> None:
    nowhere = Spans(free_port())
    async with traced_sidecar(to(nowhere, provider=provider), tmp_path) as (client, _):
        for _ in range(120):
            assert (await call(client)).status == 200
