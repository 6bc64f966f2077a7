"""Facts of Envoy: what its stats access logger counts of requests and connections, and that the agent can read it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType

from support.certificates import TestAuthority, write_workload_directory
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.loopback import Connection, echo_server, greeting_server, tcp_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import HOST, backend, identity, outbound, prefix, rule, target, tunnel, upstream_port
from weft.agent.series import SERIES_QUERY, Reading, parse_reading
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Fault, Forward, Respond, WeightedBackend
from weft.mesh.services.service import BackendKey, MutualTlsMode, Protocol
from weft.mesh.signals import Metrics, Signals
from weft.mesh.views import SidecarView
from weft.model.series import Peer, Reporter, Series, SeriesKey, bins_sum
from weft.testing.polling import eventually
from weft.xds.build import build_xds
from weft.xds.filters.place import Place
from weft.xds.signals import loggers, metrics
from weft.xds.static import static_bootstrap

REVIEWS = Peer("reviews-v1", "default", "reviews", "v1", "spiffe://cluster.local/ns/default/sa/reviews")
ROUTE = "HTTPRoute default/reviews"
URL = "http://reviews:9080"
AUTHORITY = "reviews:9080"


async def counted(envoy: RunningEnvoy, enough: Callable[[Reading], bool]) -> Reading:
    """What it has counted, as soon as that is `enough`."""

    async def look() -> Reading:
        found = parse_reading((await envoy.get(SERIES_QUERY)).encode())
        assert enough(found), "".join(f"{one}\n" for one in found.series)
        return found

    return await eventually("enough is counted", look)


def by_key(found: Reading) -> dict[SeriesKey, Series]:
    """Its series by their keys."""
    return {series.key: series for series in found.series}


def seen(side: Reporter, count: int) -> Callable[[Reading], bool]:
    """Whether this side has seen `count` requests."""
    return lambda found: found.everything.get(side, 0) >= count


def requests(count: int) -> Callable[[Reading], bool]:
    """Whether both sides have seen `count` requests."""
    return lambda found: seen("source", count)(found) and seen("destination", count)(found)


async def test_a_request_is_counted_by_both_sides_with_the_other_one_named(tmp_path: Path) -> None:
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, service=(HOST, 9080))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            for _ in range(3):
                await client.request(URL + "/", AUTHORITY, method="POST", body=b"x" * 1000)
            found = by_key(await counted(pair.envoy, requests(3)))
    source = found.pop(SeriesKey("source", "http", HOST, 9080, "", REVIEWS, 200, "-", "", ROUTE))
    destination = found.pop(SeriesKey("destination", "http", HOST, 9080, "", REVIEWS, 200))
    assert not found
    for series in (source, destination):
        assert series.count == 3
        assert series.key.mtls
        assert sum(count for _, _, count in series.duration) == 3
        assert bins_sum(series.received) == pytest.approx(3000, rel=0.051)
        assert bins_sum(series.sent) > 0


@pytest.mark.parametrize(
    ("action", "status", "flags"),
    [(Respond(418), 418, "-"), (Forward((WeightedBackend(None),)), 500, "-")],
    ids=["direct-response", "missing-backend"],
)
async def test_what_is_answered_without_a_cluster_counts_for_the_service_asked_for(
    action: Respond | Forward, status: int, flags: str, tmp_path: Path
) -> None:
    view = calling_itself(1, [rule(action)])
    async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
        assert (await client.request(URL + "/", AUTHORITY)).status == status
        found = await counted(pair.envoy, seen("source", 1))
    assert [series.key for series in found.series] == [
        SeriesKey("source", "http", HOST, 9080, code=status, flags=flags, route=ROUTE, forwarded=False)
    ]


async def test_no_route_no_endpoint_and_an_injected_fault_name_the_service(tmp_path: Path) -> None:
    aborted = rule(match=prefix("/fault"), fault=Fault(abort_http=555))
    nowhere = BackendKey("gone.default.svc.cluster.local", 80)
    lost = rule(Forward((WeightedBackend(nowhere),)), match=prefix("/gone"))
    view = calling_itself(1, [aborted, lost], others=(target(to=backend(nowhere)),))
    async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
        for path in ("/fault", "/gone", "/else"):
            await client.request(URL + path, AUTHORITY)
        found = await counted(pair.envoy, seen("source", 3))
    assert {series.key for series in found.series} == {
        SeriesKey("source", "http", HOST, 9080, code=555, flags="FI", route=ROUTE),
        SeriesKey("source", "http", nowhere.host, 80, code=503, flags="UH", route=ROUTE),
        SeriesKey("source", "http", HOST, 9080, code=404, flags="NR", forwarded=False),
    }


async def test_a_request_inside_a_connect_counts_once(tmp_path: Path) -> None:
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, service=(HOST, 9080))
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.proxy) as client:
                assert (await client.request(AUTHORITY, AUTHORITY, method="CONNECT")).status == 200
                assert (await client.request("/", AUTHORITY)).status == 200
            found = await counted(pair.envoy, seen("source", 2))
    assert {(key.reporter, key.protocol, series.count) for key, series in by_key(found).items()} == {
        ("source", "http", 1),
        ("destination", "http", 1),
    }


def closed(count: int) -> Callable[[Reading], bool]:
    """Whether both sides have seen the end of `count` connections."""
    return lambda found: all(found.connections.get(side, 0) >= count for side in ("source", "destination"))


def totals(found: Reading) -> dict[str, tuple[int, ...]]:
    """Connections opened and closed, bytes received and sent, by reporter. (How it ended is known only at the end, so a
    connection opens in one series and closes in another.)"""
    sums: dict[str, tuple[int, ...]] = {}
    for one in found.series:
        numbers = (one.opened, one.closed, one.received_bytes, one.sent_bytes)
        before = sums.get(one.key.reporter, (0, 0, 0, 0))
        sums[one.key.reporter] = tuple(a + b for a, b in zip(before, numbers, strict=True))
    return sums


def _tcp(application: int) -> tuple[SidecarView, int]:
    """A TCP service that is reached by CONNECT and by a port of its own."""
    port, to = free_port(), backend(protocol=Protocol.TCP)
    ways = outbound(virtual_hosts=(), tunnels=(tunnel(("reviews",), 9080),))
    view = calling_itself(application, view=ways, to=to, protocol=Protocol.TCP, service=(HOST, 9080))
    return replace(view, upstreams=(upstream_port(port, to),)), port


async def test_connections_are_counted_when_they_open_and_close_with_their_bytes(tmp_path: Path) -> None:
    async with greeting_server(b"hello") as application:
        view, port = _tcp(application)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(port) as client:
                assert await client.reader.readexactly(5) == b"hello"
                found = await counted(pair.envoy, lambda found: len(found.series) == 2)
                assert {(one.key.reporter, one.opened, one.closed) for one in found.series} == {
                    ("source", 1, 0),
                    ("destination", 1, 0),
                }
                client.writer.write(b"12345678")
                await client.reader.readexactly(8)
            found = await counted(pair.envoy, closed(1))
    assert {(one.key.protocol, one.key.service, one.key.port, one.key.peer) for one in found.series} == {
        ("tcp", HOST, 9080, REVIEWS)
    }
    assert totals(found) == {"source": (1, 1, 8, 13), "destination": (1, 1, 8, 13)}


async def test_connect_to_a_tcp_service_is_a_connection(tmp_path: Path) -> None:
    async with greeting_server(b"hello") as application:
        view, _ = _tcp(application)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.proxy) as client:
                assert (await client.request(AUTHORITY, AUTHORITY, method="CONNECT")).status == 200
                assert await client.reader.readexactly(5) == b"hello"
            found = await counted(pair.envoy, seen("source", 1))
    [series] = [series for series in found.series if series.key.reporter == "source"]
    assert series.key == SeriesKey(
        "source", "tcp", HOST, 9080, "", REVIEWS, flags=series.key.flags, route="Service default/reviews"
    )
    assert (series.opened, series.closed) == (1, 1)


async def test_a_long_connection_says_what_it_has_carried_so_far_and_nothing_twice(tmp_path: Path) -> None:
    often = Signals(metrics=Metrics(interval=1.0))
    async with greeting_server(b"hello") as application:
        view, port = _tcp(application)
        view = replace(view, incoming=often, outgoing=often)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(port) as client:
                client.writer.write(b"12345678")
                assert await client.reader.readexactly(13)
                found = await counted(pair.envoy, lambda found: all(one.sent_bytes == 13 for one in found.series))
                assert totals(found) == {"source": (1, 0, 8, 13), "destination": (1, 0, 8, 13)}
            found = await counted(pair.envoy, closed(1))
    assert totals(found) == {"source": (1, 1, 8, 13), "destination": (1, 1, 8, 13)}


async def test_a_connection_that_reaches_nobody_is_counted_with_the_reason(tmp_path: Path) -> None:
    view, port = _tcp(free_port())
    view = replace(view, inbound=())
    async with running_view(view, tmp_path) as (envoy, _):
        async with Connection(port) as client:
            assert await client.reader.read() == b""
        found = await counted(envoy, lambda found: any(series.closed for series in found.series))
    [series] = found.series
    assert (series.key.service, series.key.peer, series.opened, series.closed) == (HOST, None, 1, 1)
    assert "UF" in series.key.flags


async def test_grpc_is_told_by_its_status(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n"
        )
        await writer.drain()
        await reader.read()

    async with tcp_server(serve) as application:
        view = calling_itself(application, service=(HOST, 9080))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            await client.request(URL + "/", AUTHORITY, "content-type: application/grpc")
            found = await counted(pair.envoy, requests(1))
    assert {(series.key.protocol, series.key.code, series.key.grpc_status) for series in found.series} == {
        ("grpc", 200, "5")
    }


async def test_callers_without_a_certificate_are_nobody(tmp_path: Path) -> None:
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, service=(HOST, 9080), mode=MutualTlsMode.PERMISSIVE)
        async with running_pair(view, tmp_path) as pair, Connection(pair.inbound) as client:
            await client.request("/", AUTHORITY, "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/x/sa/y")
            found = await counted(pair.envoy, seen("destination", 1))
    [series] = found.series
    assert series.key == SeriesKey("destination", "http", HOST, 9080, code=200)
    assert not series.key.mtls


async def test_nothing_a_client_writes_becomes_a_statistic(tmp_path: Path) -> None:
    evil = "zzevil"
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, service=(HOST, 9080), mode=MutualTlsMode.PERMISSIVE)
        async with running_pair(view, tmp_path) as pair:
            for number in range(20):
                mark = f"{evil}{number}"
                headers = (
                    f"user-agent: {mark}",
                    f"{mark}: {mark}",
                    f"x-request-id: {mark}",
                    f"grpc-status: {mark}",
                    f"x-envoy-original-path: /{mark}",
                    f"x-forwarded-for: {mark}",
                    f"via: {mark}",
                )
                for port, target, host in (
                    (pair.proxy, f"{URL}/{mark};|{mark}", AUTHORITY),
                    (pair.proxy, f"http://{mark}.example/", f"{mark}.example"),
                    (pair.inbound, f"/{mark}", mark),
                ):
                    async with Connection(port) as client:
                        await client.request(target, host, *headers, method=mark.upper() if number % 2 else "PUT")
            found = await counted(pair.envoy, seen("destination", 30))
            names = await pair.envoy.get("/stats?usedonly")
    assert evil not in names.lower()
    assert len(found.series) <= 6


async def test_what_a_callee_can_vary_is_bounded_and_what_was_not_kept_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_HISTOGRAMS_OF_SIGNALS", 31)
    monkeypatch.setattr(loggers, "http_defaults", loggers.http_defaults.__wrapped__)  # not those made before
    count = itertools.count(1000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            status = f"grpc-status: {next(count)}".encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n" + status + b"\r\ncontent-length: 0\r\n\r\n"
            )

    async with tcp_server(serve) as application:
        view = calling_itself(application, service=(HOST, 9080))
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            for _ in range(50):
                await client.request(URL + "/", AUTHORITY, "content-type: application/grpc")
            found = await counted(pair.envoy, requests(50))
    for side in ("source", "destination"):
        kept = [series for series in found.series if series.key.reporter == side]
        assert len(kept) == 10
        assert found.requests[side] == 50


async def test_what_nothing_is_added_to_is_forgotten(tmp_path: Path) -> None:
    view = calling_itself(1, [rule(Respond(200))])
    directory = tmp_path / "envoy"
    directory.mkdir()
    authority = TestAuthority()
    write_workload_directory(directory, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    bootstrap = json.loads(static_bootstrap(build_xds(view, 1, Memo()))) | {"stats_eviction_interval": "5s"}
    assert view.proxy_listen is not None
    async with running_envoy(json.dumps(bootstrap), directory) as envoy:
        async with Connection(view.proxy_listen.port) as client:
            await client.request(URL + "/", AUTHORITY)
        assert (await counted(envoy, seen("source", 1))).series

        async def forgotten() -> bool:
            return not parse_reading((await envoy.get(SERIES_QUERY)).encode()).series

        await eventually("it is forgotten", forgotten, 60, every=0.5)


async def test_nobody_is_connected_to_an_application_for_a_caller_who_has_proven_nothing(tmp_path: Path) -> None:
    async with greeting_server(b"hello") as application:
        view, port = _tcp(application)
        async with running_pair(view, tmp_path) as pair:
            async with Connection(pair.inbound) as stranger:
                stranger.writer.write(b"hello?")
                async with Connection(port) as client:
                    assert await client.reader.readexactly(5) == b"hello"
                    client.writer.write(b"12345")
                    assert await client.reader.readexactly(5) == b"12345"
            assert await pair.envoy.stat("cluster.inbound|9080.upstream_cx_total") == 1


@pytest.mark.parametrize(("report", "least"), [(0.5, 250), (1.0, 500), (30.0, 29500)])
def test_the_end_of_a_connection_that_was_reported_early_is_not_missed(report: float, least: int) -> None:
    """A busy Envoy's timers begin at the time of its last look at the clock, so the first report may be told before
    the connection is as old as its period; what it has reported would be counted again if its end were left out."""
    *_, live = metrics.tcp_metrics(Place.INBOUND, report)
    periodic, ended = live.filter.or_filter.filters
    _, old_enough = ended.and_filter.filters
    assert old_enough.duration_filter.comparison.value.default_value == least
    assert list(periodic.log_type_filter.types) == [AccessLogType.TcpPeriodic]
