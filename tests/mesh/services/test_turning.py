"""Ports that turn: in every phase, whoever is a phase behind or ahead, servers accept what callers send."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import pytest

from support.meshdocs import documents, upstream, workload
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.catalog import frontends_of
from weft.mesh.services.service import Backend, BackendKey, Protocol
from weft.mesh.services.turning import NO_TURNS, Phase, Turns, turns_between
from weft.mesh.steps import NO_STEP, Step
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Scope
from weft.xds.build import build_xds
from weft.xds.services.names import cluster_name
from weft.xds.snapshot import CLUSTER

HOST = "web.default.svc.cluster.local"
OWN, APART = BackendKey(HOST, 80), BackendKey(HOST, 80, opaque=True)
WORDS = ("http", "grpc", "ws", "tcp", "")
REQUESTS, CONNECTIONS = frozenset({"requests"}), frozenset({"connections"})


def web(word: str, port: int = 80, name: str = "web") -> str:
    """A Service whose port says that it speaks this."""
    named = f"{word}-web" if word else "web"
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: web}}, ports: [{{name: {named}, port: {port}, targetPort: 9080}}]}}
"""


def entry(word: str, name: str = "out") -> str:
    """A ServiceEntry whose port says that it speaks this."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec: {{hosts: [api.example.com], ports: [{{number: 80, name: web, protocol: {word}}}], resolution: DNS}}
"""


def turns(before: str, after: str) -> Turns:
    """What turns between two texts."""
    return turns_between(frontends_of(documents(before)), frontends_of(documents(after)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (web("http"), web("tcp"), [("web.default.svc.cluster.local", 80, "http", "tcp")]),
        (web("tcp"), web(""), [("web.default.svc.cluster.local", 80, "tcp", "auto")]),
        (web(""), web("grpc"), [("web.default.svc.cluster.local", 80, "auto", "http2")]),
        (web("http"), web("grpc"), []),
        (web("mysql"), web("tcp"), []),
        (web("http"), web("tcp", 81), []),
        (web("http"), web("tcp", name="other"), []),
        (entry("HTTP"), entry("TCP"), [("api.example.com", 80, "http", "tcp")]),
        (entry("HTTP"), entry("TCP", "other"), []),
    ],
)
def test_what_turns(before: str, after: str, expected: list[tuple[str, int, str, str]]) -> None:
    found = turns(before, after).changes
    assert [(name.called, name.number, *map(str, change)) for name, change in found.items()] == expected
    assert bool(expected) is (turns(before, after) is not NO_TURNS)


@dataclass
class State:
    """What a caller's proxy and a server's hold."""

    caller: SidecarView
    server: SidecarView
    clusters: dict[BackendKey, Backend]

    def connections(self) -> set[BackendKey]:
        """The backends that connections are led to."""
        tunnels = [tunnel.connections for tunnel in self.caller.outbound.tunnels]
        return {key for each in (*tunnels, self.caller.upstreams[0].connections) for key in each.backends()}

    def requests(self) -> set[BackendKey]:
        """The backends that requests are led to."""
        hosts: list[VirtualHost] = [host for host in self.caller.outbound.virtual_hosts if host.port == 80]
        hosts += [tunnel.inside for tunnel in self.caller.outbound.tunnels if tunnel.inside]
        return {key for host in hosts for rule in host.rules for key in rule.backends()}

    def accepts(self) -> frozenset[str]:
        """What the server takes."""
        speaks = self.server.inbound[0].protocol
        if speaks is Protocol.AUTO:
            return REQUESTS | CONNECTIONS
        return CONNECTIONS if speaks is Protocol.TCP else REQUESTS


def state(given: tuple[Document[object], ...], step: Step = NO_STEP) -> State:
    """What proxies hold in a step."""
    memo, server = Memo(), workload("web")
    caller = workload("client", upstreams=(upstream("web", 80),), scope=Scope.ALL)
    mesh = build_mesh(ConfigSnapshot(1, given, (caller, server)), memo, step)
    seen, served = (build_view(mesh, each, memo) for each in (caller, server))
    assert isinstance(seen, SidecarView)
    assert isinstance(served, SidecarView)
    snapshot = build_xds(seen, 1, memo)
    assert not snapshot.problems
    told = [target.backend for target in (*seen.targets.targets(), *seen.targets.carried)]
    clusters = {each.key: each for each in (*told, *seen.upstreams[0].backends) if each.key.host == HOST}
    assert {each.name for each in snapshot.of_type(CLUSTER) if HOST in each.name} == set(map(cluster_name, clusters))
    return State(seen, served, clusters)


def states(before: str, after: str) -> list[State]:
    """What proxies hold before, in each step, and when nothing is left of the change."""
    old, new = documents(web(before)), documents(web(after))
    change = turns(web(before), web(after))
    found = [state(old)]
    found += [state(old, Step(None, change.at(phase))) for phase in change.before()]
    found += [state(new, Step(None, change.at(phase))) for phase in (*change.after(), Phase.LINGERING)]
    return [*found, state(new)]


@pytest.mark.parametrize(("before", "after"), [pair for pair in product(WORDS, WORDS) if pair[0] != pair[1]])
def test_neighbouring_states_understand_each_other(before: str, after: str) -> None:
    """Of any two that follow each other: rules of one with clusters of the other, and callers with servers."""
    found = states(before, after)
    spoken = found[-1 if before == "tcp" else 0].clusters[OWN].protocol
    for pair in pairwise(found):
        for routes, clusters, server in product(pair, repeat=3):
            for key in routes.connections() & clusters.clusters.keys():
                assert clusters.clusters[key].protocol is Protocol.TCP
                assert server.accepts() >= CONNECTIONS
            for key in routes.requests() & clusters.clusters.keys():
                backend = clusters.clusters[key]
                if backend.protocol is Protocol.TCP and clusters not in (found[0], found[-1]):
                    assert backend.requests is spoken
                assert server.accepts() >= (CONNECTIONS if backend.protocol is Protocol.TCP else REQUESTS)


def test_what_lingers_is_not_for_another_port_of_that_name() -> None:
    change = turns(web("http"), web("tcp"))
    step = Step(None, change.at(Phase.LINGERING))
    assert state(documents(web("tcp")), step).requests() == {OWN}
    again = state(documents(web("http")), step)
    assert again.clusters[OWN].protocol is Protocol.HTTP
    assert again.server.inbound[0].protocol is Protocol.HTTP


def test_whoever_does_not_turn_is_not_touched() -> None:
    both = web("http") + web("http", name="other")
    change = turns(both, web("tcp") + web("http", name="other"))
    memo = Memo()
    before = build_mesh(ConfigSnapshot(1, given := documents(both), ()), memo)
    opened = build_mesh(ConfigSnapshot(1, given, ()), memo, Step(None, change.at(Phase.OPENED)))
    other = "other.default.svc.cluster.local"
    assert opened.catalog.by_host[other] is before.catalog.by_host[other]
    assert opened.targets.by_key[BackendKey(other, 80)] is before.targets.by_key[BackendKey(other, 80)]
    assert opened.catalog.by_host[HOST] is not before.catalog.by_host[HOST]


@pytest.mark.parametrize(
    ("before", "after", "clusters"),
    [
        ("http", "tcp", ["own:http", "own:http", "own:http apart", "own:tcp apart", "own:tcp", "own:tcp"]),
        ("tcp", "http", ["own:tcp", "own:tcp apart", "own:http apart", "own:http", "own:http", "own:http"]),
    ],
)
def test_the_backends_of_a_port_in_each_phase(before: str, after: str, clusters: list[str]) -> None:
    found = states(before, after)
    words = [f"own:{each.clusters[OWN].protocol}" + (" apart" if APART in each.clusters else "") for each in found]
    assert words == clusters
    assert [APART in each.connections() for each in found] == [" apart" in word for word in words]


@pytest.mark.parametrize(("word", "speaks"), [("http", Protocol.HTTP), ("grpc", Protocol.HTTP2)])
def test_the_application_is_spoken_to_as_it_speaks_while_its_port_turns(word: str, speaks: Protocol) -> None:
    for pair in ((word, "tcp"), ("tcp", word)):
        _, *steps, lingering, _ = states(*pair)
        assert {each.server.inbound[0].turning for each in steps} == {speaks}
        assert lingering.server.inbound[0].turning is None
