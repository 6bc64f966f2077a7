"""What proxies are told of a port that turns: listeners of its servers, clusters and routes of its callers."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from support.meshdocs import documents, service, upstream, workload
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.services.catalog import frontends_of
from weft.mesh.services.turning import NO_TURNINGS, Phase, turns_between
from weft.mesh.steps import Step
from weft.mesh.view import build_view
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Scope
from weft.xds.build import build_xds
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES, XdsSnapshot

OWN = "outbound|80||web.default.svc.cluster.local"
APART = f"{OWN}|tcp"
PEER = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: MODE}}
"""


def web(word: str, mode: str = "STRICT") -> str:
    """A Service whose port speaks this, and the mode of its servers."""
    return service("web", 80).replace("http-80", f"{word}-80") + PEER.replace("MODE", mode)


def told(before: str, after: str, phase: Phase | None, mode: str = "STRICT") -> tuple[XdsSnapshot, XdsSnapshot]:
    """What the proxies of a caller and of a server are told in a phase; None: after all."""
    old, new = documents(web(before, mode)), documents(web(after, mode))
    change = turns_between(frontends_of(old), frontends_of(new))
    server = workload("web", port=80)
    caller = workload("client", upstreams=(upstream("web", 80),), scope=Scope.ALL)
    given = old if phase in (Phase.OPENED, Phase.READIED) else new
    memo, step = Memo(), Step(None, NO_TURNINGS if phase is None else change.at(phase))
    mesh = build_mesh(ConfigSnapshot(1, given, (caller, server)), memo, step)
    caller_told, server_told = (build_xds(build_view(mesh, each, memo), 1, memo) for each in (caller, server))
    return caller_told, server_told


def listener(snapshot: XdsSnapshot, name: str) -> Listener:
    """One of its listeners."""
    found = snapshot.get(LISTENER, name)
    assert found is not None
    return Listener.FromString(found.body)


def cluster(snapshot: XdsSnapshot, name: str) -> Cluster | None:
    """One of its clusters, if it has that."""
    found = snapshot.get(CLUSTER, name)
    return None if found is None else Cluster.FromString(found.body)


def host(snapshot: XdsSnapshot) -> VirtualHost:
    """The virtual host that CONNECT to the port meets."""
    found = snapshot.get(ROUTES, "outbound")
    assert found is not None
    routes = RouteConfiguration.FromString(found.body)
    (one,) = [each for each in routes.virtual_hosts if "web:80" in each.domains]
    return one


def led_to(route: Route) -> str:
    """The cluster of a route."""
    return route.route.cluster or route.route.weighted_clusters.clusters[0].name


@pytest.mark.parametrize(
    ("mode", "chains", "inspectors"),
    [
        ("STRICT", {"mutual-tls-http": ["h2", "http/1.1"], "mutual-tls": ["weft-tcp"]}, ["tls_inspector"]),
        (
            "PERMISSIVE",
            {
                "mutual-tls-http": ["h2", "http/1.1"],
                "mutual-tls": ["weft-tcp"],
                "plaintext-http": ["http/1.0", "http/1.1", "h2c"],
                "plaintext": [],
            },
            ["tls_inspector", "http_inspector"],
        ),
        ("DISABLE", {"plaintext-http": ["http/1.0", "http/1.1", "h2c"], "plaintext": []}, ["http_inspector"]),
    ],
)
@pytest.mark.parametrize("phase", [Phase.OPENED, Phase.TURNED, Phase.SETTLED])
def test_servers_tell_requests_from_connections(
    mode: str, chains: dict[str, list[str]], inspectors: list[str], phase: Phase
) -> None:
    _, server = told("http", "tcp", phase, mode)
    found = listener(server, "inbound|80")
    assert {each.name: [*each.filter_chain_match.application_protocols] for each in found.filter_chains} == chains
    assert [each.name.rpartition(".")[2] for each in found.listener_filters] == inspectors
    waits = "http_inspector" in inspectors  # for a server that speaks first
    assert found.continue_on_listener_filters_timeout is waits
    assert (found.listener_filters_timeout.nanos == 500_000_000) is waits


@pytest.mark.parametrize(("before", "version"), [("http", ""), ("grpc", "http2_protocol_options")])
def test_requests_that_still_come_are_carried_as_the_application_speaks(before: str, version: str) -> None:
    for phase in (Phase.SETTLED, Phase.LINGERING):
        own = cluster(told(before, "tcp", phase)[0], OWN)
        assert own is not None
        assert b"weft-tcp" in own.transport_socket.typed_config.value
        options = [HttpProtocolOptions.FromString(each.value) for each in own.typed_extension_protocol_options.values()]
        found = [each.explicit_http_config.WhichOneof("protocol_config") for each in options]
        assert found == ([version] if version else [])
    own = cluster(told(before, "tcp", None)[0], OWN)
    assert own is not None
    assert not own.typed_extension_protocol_options


def test_rules_for_requests_stand_behind_that_for_connect_while_a_port_turns_to_tcp() -> None:
    for phase in (Phase.TURNED, Phase.SETTLED, Phase.LINGERING):
        caller, _ = told("http", "tcp", phase)
        one = host(caller)
        connect, request = one.routes
        assert connect.match.HasField("connect_matcher")
        assert led_to(connect) == (OWN if phase is Phase.LINGERING else APART)
        assert led_to(request) == OWN
        assert {"web", "web:80", "web.default", "web.default.svc.cluster.local:80"} <= {*one.domains}
        assert (cluster(caller, APART) is None) is (phase is Phase.LINGERING)
    caller, _ = told("http", "tcp", None)
    one = host(caller)
    assert [each.name for each in one.routes] == ["connect", "refuse"]
    assert "web" not in one.domains


def test_what_lingers_is_on_the_way_back_too() -> None:
    """Connections of the time before last are there when a port turns back."""
    caller, _ = told("tcp", "http", Phase.OPENED)
    connect, request = host(caller).routes
    assert (led_to(connect), led_to(request)) == (APART, OWN)
    caller, _ = told("tcp", "http", Phase.TURNED)
    connect, request = host(caller).routes
    assert (led_to(connect), led_to(request)) == ("http-tunnel", OWN)


def test_nothing_is_left_of_a_change() -> None:
    plain = {each: told(each, each, None) for each in ("http", "tcp")}
    for before, after in (("http", "tcp"), ("tcp", "http")):
        for turned, never in zip(told(before, after, None), plain[after], strict=True):
            for kind in (CLUSTER, LISTENER, ROUTES):
                assert {each.name: each.version for each in turned.of_type(kind)} == {
                    each.name: each.version for each in never.of_type(kind)
                }
