"""Facts of Envoy: what the mesh computes for zoneAwareLbSetting is what Envoy's own zone-aware routing does, for which
each proxy would need a cluster of its own service; and weights of the first priority leave later ones alone."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port, running_envoy
from support.loopback import Connection, echo_server
from support.proxy import running_view
from support.views import KEY, PLAINTEXT, backend, endpoint, outbound, sidecar, targets
from weft.mesh.services.nearness import Caller, groups_for
from weft.mesh.services.service import Endpoint, EndpointSet, Health, Nearness, Target, TrafficPolicy
from weft.model.locality import Locality, locality_from_text
from weft.model.workload import SocketAddress

REQUESTS = 500
TOLERATED = 0.12
"""More than five standard deviations of a share of a half."""
ZONED = Nearness(zones=1)
CASES = [
    ("a/x", "a/x a/y"),
    ("a/x a/y", "a/x a/y"),
    ("a/x a/x a/x a/y", "a/x a/y"),
    ("a/x a/y", "a/x a/y a/y a/y"),
    ("a/x a/y a/z", "a/x a/y a/y a/y a/z a/z"),
    ("a/w", "a/x a/y"),
]


@contextlib.asynccontextmanager
async def servers(places: Sequence[str]) -> AsyncIterator[tuple[Endpoint, ...]]:
    """An instance at each place, which says in its answer where it is."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for place in places:
            server = await stack.enter_async_context(echo_server(place))
            found.append(endpoint(server.port, mutual_tls=False, locality=locality_from_text(place)))
        yield tuple(found)


async def shares(port: int) -> dict[str, float]:
    """Which share of the requests each place answers."""
    found: Counter[str] = Counter()
    async with Connection(port) as client:
        for _ in range(REQUESTS):
            answer = await client.request("http://reviews:9080/", "reviews:9080")
            assert answer.status == 200
            found[answer.headers["x-app"]] += 1
    return {place: count / REQUESTS for place, count in found.items()}


def native(port: int, callers: Sequence[str], callees: Sequence[Endpoint]) -> str:
    """A bootstrap with Envoy's own zone-aware routing, as one would write it by hand."""

    def cluster(name: str, members: Sequence[tuple[Locality, int]], **more: Any) -> dict[str, Any]:
        places = dict.fromkeys(place for place, _ in members)
        groups = [
            {
                "locality": {"region": place.region, "zone": place.zone},
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}}
                    for where, number in members
                    if where == place
                ],
            }
            for place in places
        ]
        return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": groups}, **more}

    zone_aware = {"zone_aware_lb_config": {"min_cluster_size": 1}, "healthy_panic_threshold": {}}
    peers = [(locality_from_text(place), number) for number, place in enumerate(callers, start=1)]
    served = [(each.locality, each.address.port) for each in callees]
    extensions = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}
            ]
        },
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    own = locality_from_text(callers[0])
    return json.dumps(
        {
            "admin": {"address": {"pipe": {"path": "admin.sock"}}},
            "node": {"id": "n", "cluster": "c", "locality": {"region": own.region, "zone": own.zone}},
            "cluster_manager": {"local_cluster_name": "peers"},
            "static_resources": {
                "listeners": [listener],
                "clusters": [cluster("peers", peers), cluster("web", served, common_lb_config=zone_aware)],
            },
        }
    )


def ours(callers: Sequence[str], callees: tuple[Endpoint, ...]) -> tuple[Target, dict[str, float]]:
    """The backend as the mesh tells a caller at the first of `callers` of it, and the shares that this means."""
    places = Counter(map(locality_from_text, callers))
    peers = tuple((place.region, place.zone, count) for place, count in sorted(places.items()))
    groups = groups_for(ZONED, callees, Caller(locality_from_text(callers[0]), peers=peers))
    first = [group for group in groups if group.priority == 0]
    total = sum(group.weight for group in first)
    said = {str(group.locality): group.weight / total for group in first}
    if not groups:
        said = {place: count / len(callees) for place, count in Counter(str(each.locality) for each in callees).items()}
    to = backend(policy=TrafficPolicy(nearness=ZONED), transport=PLAINTEXT)
    return Target(to, EndpointSet(KEY, callees, groups)), said


@pytest.mark.parametrize(("callers", "callees"), CASES)
async def test_our_shares_are_those_of_envoys_algorithm(callers: str, callees: str, tmp_path: Path) -> None:
    async with servers(callees.split()) as instances:
        target, said = ours(callers.split(), instances)
        proxy, port = SocketAddress("127.0.0.1", free_port()), free_port()
        for name in ("ours", "native"):
            (tmp_path / name).mkdir()
        view = sidecar(outbound(), inbound=(), targets=targets(target), proxy_listen=proxy)
        async with running_view(view, tmp_path / "ours"):
            measured = await shares(proxy.port)
        async with running_envoy(native(port, callers.split(), instances), tmp_path / "native"):
            expected = await shares(port)
    assert measured.keys() == expected.keys() == said.keys()
    for place, share in said.items():
        assert measured[place] == pytest.approx(share, abs=TOLERATED)
        assert expected[place] == pytest.approx(share, abs=TOLERATED)


@pytest.mark.parametrize(
    ("down", "answering"),
    [
        ("", {"a/x": 1.0}),
        ("a/x", {"a/y": 1.0}),
        ("a/x a/y", {"b/z": 1.0}),
        ("a/x a/y b/z", {}),
    ],
)
async def test_what_is_not_healthy_sends_calls_on(down: str, answering: dict[str, float], tmp_path: Path) -> None:
    """To the other zones of the region, which have no weight, then to other regions."""
    async with servers(["a/x", "a/y", "b/z"]) as instances:
        known = tuple(
            replace(each, health=Health.UNHEALTHY) if str(each.locality) in down.split() else each for each in instances
        )
        target, _ = ours(["a/x", "a/y"], known)
        proxy = SocketAddress("127.0.0.1", free_port())
        view = sidecar(outbound(), inbound=(), targets=targets(target), proxy_listen=proxy)
        async with running_view(view, tmp_path):
            if answering:
                assert await shares(proxy.port) == answering
            else:
                async with Connection(proxy.port) as client:
                    assert (await client.request("http://reviews:9080/", "reviews:9080")).status == 503
