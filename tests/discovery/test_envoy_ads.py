"""A real Envoy takes its configuration over delta ADS with mutual TLS, keeps what works, and reconnects cheaply."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf.json_format import ParseDict

from support.discovery import ProxyAuthority, TableCompiler, layer
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.served import (
    ADS,
    PROXY,
    URI,
    WORKLOAD,
    Table,
    application,
    bootstrap,
    cluster,
    endpoints,
    fetch,
    listener,
    routes,
    served,
)
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.observer import NoObserver
from weft.discovery.session import Session
from weft.discovery.stream import Ending
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, ResourceSet


@pytest.fixture
def authority() -> ProxyAuthority:
    return ProxyAuthority()


@pytest.fixture
def hub() -> Hub[Table]:
    return Hub(TableCompiler())


async def test_configuration_change_refusal_and_reconnect(
    hub: Hub[Table], authority: ProxyAuthority, tmp_path: Path
) -> None:
    front = free_port()
    pair = authority.issue(PROXY, URI)
    async with application("one") as one, application("two") as two:
        shared = layer(cluster("a"), endpoints("a", one), routes("a"))
        own = layer(listener("front", front))
        await hub.publish({PROXY: (shared, own)}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as port,
            running_envoy(bootstrap(tmp_path, port, pair), tmp_path) as envoy,
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            assert await fetch(front) == "one"
            first_load = hub.proxies()[0].bytes_sent
            await change_route(hub, own, one, two, front)
            await change_cluster_alone(hub, own, two, envoy)
            await refuse_one_of_two(hub, own, two, front)
            good = layer(cluster("b", "2s"), endpoints("b", two), routes("b"))
            await hub.publish({PROXY: (good, own)}, {PROXY: WORKLOAD}, 5)
            assert (await hub.wait_revision(5, 10)).confirmed == (PROXY,)
            assert hub.problems() == ()
            await reconnect(hub, first_load)
            assert await fetch(front) == "two"


async def test_a_cluster_that_waits_for_its_endpoints_when_the_stream_ends_gets_them_on_the_next(
    hub: Hub[Table], authority: ProxyAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy holds them, and says so; but a changed cluster waits for them anew, and all other clusters with it."""
    front = free_port()
    pair = authority.issue(PROXY, URI)
    monkeypatch.setitem(ADS, "initial_fetch_timeout", "0s")  # as in what weft generates
    async with application("one") as one:
        own = layer(listener("front", front))
        await hub.publish({PROXY: (layer(cluster("a"), endpoints("a", one), routes("a")), own)}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as port,
            running_envoy(bootstrap(tmp_path, port, pair), tmp_path) as envoy,
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            changed = layer(cluster("a", "2s"), endpoints("a", one), routes("a"))
            with monkeypatch.context() as patched:  # the stream ends between the two responses
                patched.setattr(Session, "_repeat_endpoints", lambda *_: None)
                await hub.publish({PROXY: (changed, own)}, {PROXY: WORKLOAD}, 2)
                await eventually("it waits", lambda: envoy.stat("cluster_manager.warming_clusters"))
            for stream in hub._roster:
                stream.end(Ending("UNAVAILABLE", "cut by the test"))
            await eventually("it goes on", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 2)
            assert '"connect_timeout": "2s"' in await envoy.get("/config_dump?resource=dynamic_active_clusters")
            assert await fetch(front) == "one"


async def test_a_server_with_more_room_takes_over_and_the_stream_goes_on(
    authority: ProxyAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy is told to open no more streams on its connection, and keeps the one that it has."""
    monkeypatch.setattr("weft.discovery.server._INSPECTION_SECONDS", 0.05)
    caplog.set_level("INFO", "weft.discovery")
    hub: Hub[Table] = Hub(TableCompiler(), limits=Limits(fewest_connections=4))
    front = free_port()
    async with application("one") as one:
        shared = layer(cluster("a"), endpoints("a", one), routes("a"))
        own = layer(listener("front", front))
        await hub.publish({PROXY: (shared, own)}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as port,
            running_envoy(bootstrap(tmp_path, port, authority.issue(PROXY, URI)), tmp_path),
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            before = hub.proxies()[0].connected
            many = {f"w{number}.shop": Workload(f"w{number}", "shop", "web") for number in range(9)}
            await hub.publish({PROXY: (shared, own)}, {PROXY: WORKLOAD, **many}, 2)
            await eventually("another server", lambda: "10 proxies are registered" in caplog.text)
            more = layer(listener("front", front), cluster("b"), endpoints("b", one))
            await hub.publish({PROXY: (shared, more)}, {PROXY: WORKLOAD, **many}, 3)
            assert (await hub.wait_revision(3, 10)).confirmed == (PROXY,)
            assert hub.proxies()[0].connected == before


async def test_state_of_the_world(hub: Hub[Table], authority: ProxyAuthority, tmp_path: Path) -> None:
    front = free_port()
    text = bootstrap(tmp_path, 0, authority.issue(PROXY, URI), "GRPC")
    async with application("one") as one, application("two") as two:
        own = layer(listener("front", front))
        await hub.publish({PROXY: (layer(cluster("a"), endpoints("a", one), routes("a")), own)}, {PROXY: WORKLOAD}, 1)
        async with served(hub, authority) as port:
            text = text.replace('"port_value": 0', f'"port_value": {port}')
            async with running_envoy(text, tmp_path) as envoy:
                await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
                assert (await fetch(front), hub.proxies()[0].variant) == ("one", "sotw")
                await change_route(hub, own, one, two, front)
                await change_cluster_alone(hub, own, two, envoy)
                assert '"name": "a"' not in await envoy.get("/config_dump?resource=dynamic_active_clusters")


async def test_a_port_passes_from_one_listener_to_another(
    hub: Hub[Table], authority: ProxyAuthority, tmp_path: Path
) -> None:
    """The removal and the addition travel in one response, and Envoy takes the removal first."""
    front = free_port()
    async with application("one") as one:
        shared = layer(cluster("a"), endpoints("a", one), routes("a"))
        await hub.publish({PROXY: (shared, layer(listener("front", front)))}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as port,
            running_envoy(bootstrap(tmp_path, port, authority.issue(PROXY, URI)), tmp_path),
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            assert await fetch(front) == "one"
            await hub.publish({PROXY: (shared, layer(listener("renamed", front)))}, {PROXY: WORKLOAD}, 2)
            result = await hub.wait_revision(2, 10)
            assert (result.confirmed, result.nacked) == ((PROXY,), ())
            assert await fetch(front) == "one"


class Notes(NoObserver):
    """An observer that remembers what was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def attached(self, proxy: str) -> None:
        assert proxy == PROXY

    def detached(self, proxy: str) -> None:
        assert proxy == PROXY

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        assert workload.proxy == PROXY
        self.names |= names


async def test_clusters_on_demand(authority: ProxyAuthority, tmp_path: Path) -> None:
    """The first request to a cluster brings it; of one that does not exist it is refused; a new stream knows all."""
    notes = Notes()
    hub: Hub[Table] = Hub(TableCompiler(), observer=notes, remembered=lambda _: frozenset(notes.names))
    front = free_port()
    package = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3"
    odcds = {"source": ADS, "timeout": "2s"}
    on_demand = {"name": "on_demand", "typed_config": {"@type": f"{package}.OnDemand", "odcds": odcds}}
    own = layer(cluster("always"), listener("front", front, (on_demand,)))

    def lazy(*resources: Resource) -> ResourceSet:
        return ResourceSet(layer(*resources).by_type, on_demand=True)

    async with application("one") as one, application("two") as two:
        present = lazy(cluster("a"), endpoints("a", one), cluster("unused"), endpoints("unused", one))
        await hub.publish({PROXY: (layer(routes("a")), own, present)}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as port,
            running_envoy(bootstrap(tmp_path, port, authority.issue(PROXY, URI)), tmp_path) as envoy,
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            assert '"name": "a"' not in await envoy.get("/config_dump?resource=dynamic_active_clusters")
            assert await fetch(front) == "one"
            assert notes.names == {"a"}
            await hub.publish({PROXY: (layer(routes("b")), own, present)}, {PROXY: WORKLOAD}, 2)
            assert (await hub.wait_revision(2, 10)).confirmed == (PROXY,)
            assert await fetch(front) == "", "there is no such cluster"
            more = lazy(cluster("a"), endpoints("a", one), cluster("b"), endpoints("b", two))
            await hub.publish({PROXY: (layer(routes("b")), own, more)}, {PROXY: WORKLOAD}, 3)
            assert (await hub.wait_revision(3, 10)).confirmed == (PROXY,)
            assert await fetch(front) == "two"
            assert notes.names == {"a", "b"}
            await reconnect(hub, 10**6)
            assert hub.problems() == ()
            assert await fetch(front) == "two"
            dump = await envoy.get("/config_dump?resource=dynamic_active_clusters")
            assert '"name": "a"' in dump and '"name": "unused"' not in dump


async def change_route(hub: Hub[Table], own: ResourceSet, one: int, two: int, front: int) -> None:
    """A new cluster, a route to it, and the end of the old cluster, in one publication, without a failed request."""
    stop = asyncio.Event()
    answers: list[str] = []

    async def ask() -> None:
        while not stop.is_set():
            answers.append(await fetch(front))

    asking = asyncio.create_task(ask())
    moved = layer(cluster("b"), endpoints("b", two), routes("b"))
    await hub.publish({PROXY: (moved, own)}, {PROXY: WORKLOAD}, 2)
    result = await hub.wait_revision(2, 10)
    stop.set()
    await asking
    assert (result.confirmed, result.nacked, result.pending) == ((PROXY,), (), ())
    assert set(answers) <= {"one", "two"}
    assert {await fetch(front) for _ in range(20)} == {"two"}
    assert one != two


async def change_cluster_alone(hub: Hub[Table], own: ResourceSet, two: int, envoy: RunningEnvoy) -> None:
    """A changed cluster becomes warm though its endpoints are the same: they are sent again."""
    changed = layer(cluster("b", "2s"), endpoints("b", two), routes("b"))
    await hub.publish({PROXY: (changed, own)}, {PROXY: WORKLOAD}, 3)
    assert (await hub.wait_revision(3, 5)).confirmed == (PROXY,)
    assert await envoy.stat("cluster_manager.warming_clusters") == 0
    assert '"connect_timeout": "2s"' in await envoy.get("/config_dump?resource=dynamic_active_clusters")


async def refuse_one_of_two(hub: Hub[Table], own: ResourceSet, two: int, front: int) -> None:
    """Envoy refuses one cluster of two by name, and another change that it does not name."""
    text = {"name": "bad", "type": "EDS", "connect_timeout": "1s"}
    bad = encode_resource(ParseDict(text, cluster_pb2.Cluster()), "bad")
    policy = {"cluster_name": "b", "policy": {"overprovisioning_factor": 0}}
    nameless = encode_resource(ParseDict(policy, endpoint_pb2.ClusterLoadAssignment()), "b")
    fresh = layer(cluster("b", "2s"), cluster("c"), bad, nameless, endpoints("c", two), routes("c"))
    await hub.publish({PROXY: (fresh, own)}, {PROXY: WORKLOAD}, 4)
    result = await hub.wait_revision(4, 10)
    assert (result.confirmed, result.pending) == ((), ())
    assert {(nack.type, nack.resource) for nack in result.nacked} == {
        ("Cluster", "bad"),
        ("ClusterLoadAssignment", "b"),
    }, result
    assert {problem.code for problem in hub.problems()} == {"nack"}
    assert await fetch(front) == "two"
    assert [stream.session.next() for stream in hub._roster] == [None], "a refused resource is not sent again"


async def reconnect(hub: Hub[Table], first_load: int) -> None:
    before = hub.proxies()[0]
    for stream in hub._roster:
        stream.end(Ending("UNAVAILABLE", "cut by the test"))
    await eventually(
        "reconnected",
        lambda: bool(hub.proxies()) and hub.proxies()[0].connected != before.connected and not hub.proxies()[0].pending,
    )
    assert hub.proxies()[0].bytes_sent < first_load / 20


def test_types_are_those_of_the_snapshot() -> None:
    assert cluster("a").type_url == CLUSTER
    assert endpoints("a", 1).type_url == ENDPOINTS
    assert listener("a", 1).type_url == LISTENER
