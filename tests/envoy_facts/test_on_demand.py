"""Facts of Envoy: a cluster that a proxy was not told about is asked for when it is used, and never waited for long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support.ads import HandMadeAds, ads_bootstrap, serving_ads
from support.certificates import Leaf, TestAuthority, write_workload_directory
from support.discovery import ProxyAuthority, TableCompiler, layer
from support.envoy import free_port, running_envoy
from support.loopback import Connection, Response, echo_server, greeting_server
from support.proxy import calling_itself
from support.views import (
    BACKEND,
    KEY,
    NAMES,
    backend,
    endpoint,
    identity,
    outbound,
    prefix,
    rule,
    target,
    tunnel,
    upstream_port,
    virtual_host,
)
from weft.discovery.hub import Hub
from weft.discovery.server import serve_xds
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, Mirror, WeightedBackend
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.views import OutboundView
from weft.model.workload import Workload
from weft.xds.bootstrap import BootstrapParameters, build_bootstrap
from weft.xds.build import build_xds
from weft.xds.filters import on_demand
from weft.xds.limits import ON_DEMAND_SECONDS
from weft.xds.services.names import cluster_name
from weft.xds.snapshot import CLUSTER, TYPES, ResourceSet

CONTROL_PLANE = "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"
GONE = BackendKey("gone.default.svc.cluster.local", 80)
COPY = BackendKey("copy.default.svc.cluster.local", 80)
RULES = (
    rule(Forward((WeightedBackend(GONE),)), prefix("/gone")),
    rule(Forward((WeightedBackend(KEY),), mirrors=(Mirror(COPY),)), prefix("/mirrored")),
    rule(),
)


@dataclass
class Asking:
    """A sidecar that was told no backend. `upstream` is its loopback port to the service. Closing `serving` takes its
    control plane away."""

    ads: HandMadeAds
    serving: contextlib.AsyncExitStack
    proxy: int
    upstream: int

    def asked(self) -> list[str]:
        """The clusters it has asked for by name."""
        return [name for kind, name in self.ads.asked if kind == CLUSTER]

    async def get(self, path: str) -> Response:
        """One request on a connection of its own."""
        async with Connection(self.proxy) as client:
            return await client.request(f"http://reviews:9080{path}", "reviews:9080")


@contextlib.asynccontextmanager
async def asking(
    view: OutboundView, application: int, directory: Path, protocol: Protocol = Protocol.HTTP
) -> AsyncIterator[Asking]:
    """`view` on demand, in a sidecar whose reviews service is its own `application`; it knows a backend for copies."""
    authority, upstream = TestAuthority(), free_port()
    write_workload_directory(directory, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    to = backend(protocol=protocol)
    port = upstream_port(upstream, to, next(iter(view.virtual_hosts), None))
    others = (target(endpoint(free_port()), to=backend(COPY)),)
    view = replace(view, on_demand=True)
    ours = replace(calling_itself(application, view=view, to=to, others=others, protocol=protocol), upstreams=(port,))
    assert ours.proxy_listen is not None
    ads = HandMadeAds(untold={(CLUSTER, BACKEND), (CLUSTER, cluster_name(COPY))})
    ads.tell(build_xds(ours, 1, Memo()))
    async with contextlib.AsyncExitStack() as serving:
        await serving.enter_async_context(serving_ads(ads))
        async with running_envoy(ads_bootstrap(ads), directory):
            yield Asking(ads, serving, ours.proxy_listen.port, upstream)
            assert not ads.refused


def http() -> OutboundView:
    """The reviews service with rules."""
    return outbound(virtual_hosts=(virtual_host(RULES),))


def tcp() -> OutboundView:
    """The reviews service as a TCP port."""
    return outbound(virtual_hosts=(), tunnels=(tunnel(NAMES, 9080),))


@pytest.fixture
def _for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy waits longer for a cluster than a test may take: what is answered was answered at once."""
    monkeypatch.setattr(on_demand, "ON_DEMAND_SECONDS", 3600.0)


async def test_the_first_requests_wait_for_the_cluster_and_ask_once(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, asking(http(), application.port, tmp_path) as ours:
        assert ours.asked() == []
        first = await asyncio.gather(*(ours.get("/") for _ in range(5)))
        assert [answer.status for answer in first] == [200] * 5
        assert (await ours.get("/")).status == 200
        assert ours.asked() == [BACKEND]


async def test_a_connect_into_the_routes_asks_too(tmp_path: Path) -> None:
    async with (
        echo_server("reviews") as application,
        asking(http(), application.port, tmp_path) as ours,
        Connection(ours.proxy) as client,
    ):
        assert (await client.request("reviews:9080", "reviews:9080", method="CONNECT")).status == 200
        assert (await client.request("/", "reviews:9080")).status == 200
        assert ours.asked() == [BACKEND]


@pytest.mark.usefixtures("_for_ever")
async def test_a_cluster_that_nobody_has_is_answered_at_once(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, asking(http(), application.port, tmp_path) as ours:
        answer = await ours.get("/gone")
        assert (answer.status, b"control plane" in answer.body) == (503, True)
        assert ours.asked() == [cluster_name(GONE)]


async def test_without_the_control_plane_a_request_waits_a_while_and_known_clusters_go_on(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, asking(http(), application.port, tmp_path) as ours:
        assert (await ours.get("/")).status == 200
        await ours.serving.aclose()
        assert (await ours.get("/")).status == 200
        started = time.monotonic()
        answer = await ours.get("/gone")
        waited = time.monotonic() - started
        assert (answer.status, b"control plane" in answer.body) == (503, True)
        assert waited > ON_DEMAND_SECONDS - 0.5


async def test_a_cluster_that_came_too_late_is_used_when_it_comes(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, asking(http(), application.port, tmp_path) as ours:
        await ours.serving.aclose()
        assert (await ours.get("/")).status == 503
        await ours.serving.enter_async_context(serving_ads(ours.ads))
        async with asyncio.timeout(60):
            while (await ours.get("/")).status != 200:
                pass


@pytest.mark.usefixtures("_for_ever")
async def test_the_control_plane_answers_at_once_for_what_it_does_not_have_and_pushes_it_when_it_has(
    tmp_path: Path,
) -> None:
    """The same with weft's own server: it answers a name with a removal, and what appears later is sent."""
    authority, proxy = ProxyAuthority(), "reviews.default"
    pair = authority.issue(proxy, str(identity("reviews")))
    write_workload_directory(tmp_path, Leaf(pair.chain.encode(), pair.key.encode()), pair.bundle.encode())
    server = authority.issue("weft-control-plane", CONTROL_PLANE)
    workloads = {proxy: Workload("reviews", "default", "reviews")}
    hub: Hub[Mapping[str, tuple[ResourceSet, ...]]] = Hub(TableCompiler())
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, view=replace(http(), on_demand=True))
        assert view.proxy_listen is not None
        own = build_xds(view, 1, Memo())
        without = layer(
            *(each for kind in TYPES for each in own.of_type(kind) if (kind, each.name) != (CLUSTER, BACKEND))
        )
        await hub.publish({proxy: (without,)}, workloads, 1)
        async with serve_xds("127.0.0.1", 0, material=lambda: server, hub=hub, lookup=workloads.get) as port:
            where = BootstrapParameters(proxy, f"127.0.0.1:{port}", CONTROL_PLANE, "admin.sock", "cluster.local")
            async with running_envoy(build_bootstrap(where), tmp_path), Connection(view.proxy_listen.port) as client:
                answer = await client.request("http://reviews:9080/", "reviews:9080")
                assert (answer.status, b"control plane" in answer.body) == (503, True)
                await hub.publish({proxy: own.layers}, workloads, 2)
                assert (await hub.wait_revision(2, 10)).confirmed == (proxy,)
                assert (await client.request("http://reviews:9080/", "reviews:9080")).status == 200


async def test_hosts_of_no_document_are_not_asked_for(tmp_path: Path) -> None:
    view = replace(http(), allow_any=True)
    async with echo_server("reviews") as application, asking(view, application.port, tmp_path) as ours:
        async with echo_server("elsewhere") as other, Connection(ours.proxy) as client:
            where = f"127.0.0.1:{other.port}"
            assert (await client.request(f"http://{where}/", where)).headers["x-app"] == "elsewhere"
        assert ours.asked() == []


async def test_mirrors_are_not_asked_for(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, asking(http(), application.port, tmp_path) as ours:
        for _ in range(3):
            assert (await ours.get("/mirrored")).status == 200
        assert ours.asked() == [BACKEND]


async def test_tcp_asks_through_a_tunnel_and_through_a_loopback_port(tmp_path: Path) -> None:
    for place in ("tunnel", "upstream"):
        directory = tmp_path / place
        directory.mkdir()
        async with greeting_server(b"ready") as database, asking(tcp(), database, directory, Protocol.TCP) as ours:
            async with Connection(ours.proxy if place == "tunnel" else ours.upstream) as client:
                if place == "tunnel":
                    assert (await client.request("reviews:9080", "reviews:9080", method="CONNECT")).status == 200
                assert await asyncio.wait_for(client.reader.readexactly(5), 10) == b"ready"
            assert ours.asked() == [BACKEND]
