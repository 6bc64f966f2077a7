"""build_xds: layers, sharing, and configurations that a real Envoy accepts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.certificates import TestAuthority, write_workload_directory
from support.envoy import validate
from support.meshdocs import Compiled, service
from support.views import (
    BACKEND,
    KEY,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    identity,
    inbound,
    looked_up,
    outbound,
    rule,
    sidecar,
    target,
    targets,
    tunnel,
    upstream_port,
    virtual_host,
)
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, Mirror, WeightedBackend
from weft.mesh.services.service import BackendKey, MutualTls, MutualTlsMode, PerEndpoint, Protocol
from weft.mesh.views import Certificate, EdgeTls, GatewayServer, ProxyView
from weft.model.origin import Origin
from weft.model.workload import Scope
from weft.xds.bootstrap import BootstrapParameters, build_bootstrap
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource
from weft.xds.services.names import cluster_name
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, TYPES
from weft.xds.static import static_bootstrap


@pytest.fixture(scope="session")
def workload_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("workload")
    authority = TestAuthority()
    write_workload_directory(directory, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    return directory


def _everything() -> ProxyView:
    tcp = BackendKey("db.default.svc.cluster.local", 5432)
    auto = BackendKey("any.default.svc.cluster.local", 7000)
    socket = BackendKey("chat.default.svc.cluster.local", 80)
    external = BackendKey("cdn.default.svc.cluster.local", 80)
    mixed = PerEndpoint(MutualTls((identity("any"),)))
    backends = (
        backend(),
        backend(tcp, protocol=Protocol.TCP),
        backend(auto, protocol=Protocol.AUTO, transport=mixed),
        backend(socket, protocol=Protocol.WEBSOCKET, transport=PLAINTEXT),
        backend(external, dns=looked_up("cdn.example.com"), transport=PLAINTEXT),
    )
    anything = virtual_host(
        [rule(Forward((WeightedBackend(auto),)))],
        name="any",
        port=7000,
        domains=("any", "any.default.svc.cluster.local"),
    )
    hosts = (
        virtual_host(),
        anything,
        virtual_host(
            [rule(Forward((WeightedBackend(socket),), websocket=True))], name="chat", port=80, domains=("chat",)
        ),
        virtual_host([rule(Forward((WeightedBackend(external),)))], name="cdn", port=80, domains=("cdn",)),
    )
    ends = (endpoint(20001), endpoint(20010, mutual_tls=False))
    view = outbound(
        virtual_hosts=hosts,
        tunnels=(tunnel(("db", "db.default.svc.cluster.local"), 5432, tcp),),
        allow_any=True,
    )
    upstreams = (
        upstream_port(20020, backends[1]),
        upstream_port(20021, backends[0], virtual_host()),
        upstream_port(20022, backends[2], anything),
    )
    ports = tuple(
        inbound(21000 + index, 22000 + index, port=9000 + index, protocol=protocol, mode=mode)
        for index, (protocol, mode) in enumerate((p, m) for p in Protocol for m in MutualTlsMode)
    )
    found = targets(*(target(*ends, to=each) for each in backends))
    return sidecar(view, targets=found, inbound=ports, upstreams=upstreams)


def _https() -> ProxyView:
    leaf = TestAuthority().issue(dns=("a.example.com",))
    names = {"a": "a.example.com", "wild": "*.example.com", "rest": "*"}
    servers = tuple(
        GatewayServer(
            name,
            (hostname,),
            (virtual_host(domains=(hostname,)),),
            EdgeTls(("default/a",), lowest="1.2" if name == "wild" else "1.3"),
            tuple(other for other in names.values() if other != hostname),
        )
        for name, hostname in names.items()
    )
    port = gateway_port(port=443, protocol="HTTPS", servers=servers)
    return gateway(port, certificates=(Certificate("default/a", leaf.chain, leaf.key, Origin("secret.yaml", 1)),))


@pytest.mark.parametrize(
    "view",
    [sidecar(), gateway(), _everything(), _https(), sidecar(proxy_listen=None, inbound=())],
    ids=["sidecar", "gateway", "everything", "https", "nothing-of-its-own"],
)
def test_envoy_accepts_what_is_built(view: ProxyView, workload_directory: Path) -> None:
    snapshot = build_xds(view, 1, Memo())
    assert snapshot.problems == ()
    assert validate(static_bootstrap(snapshot), workload_directory) == ""


def test_envoy_refuses_a_broken_configuration(workload_directory: Path) -> None:
    broken = static_bootstrap(build_xds(sidecar(), 1, Memo())).replace('"TLSv1_3"', '"TLSv9"')
    assert "TLSv9" in validate(broken, workload_directory)


@pytest.mark.parametrize("xds", ["127.0.0.1:15012", "[::1]:15012", "mesh.example.com:15012"])
def test_envoy_accepts_the_bootstrap(xds: str, workload_directory: Path) -> None:
    parameters = BootstrapParameters(
        "reviews.default", xds, "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane", "a.sock", "cluster.local"
    )
    assert validate(build_bootstrap(parameters), workload_directory) == ""


def test_proxies_with_one_outbound_view_share_its_layer() -> None:
    memo, view, found = Memo(), outbound(), targets()
    one = build_xds(sidecar(view, proxy="a.default", targets=found), 1, memo)
    other = build_xds(sidecar(view, proxy="b.default", targets=found, inbound=()), 1, memo)
    assert [a is b for a, b in zip(one.layers, other.layers, strict=True)] == [True, True, False]


def test_an_endpoint_change_leaves_routes_alone_and_callers_who_see_the_same_share_targets() -> None:
    memo, view, found = Memo(), outbound(), targets()
    proxy = sidecar(view, targets=found)
    first = build_xds(proxy, 1, memo)
    other = build_xds(sidecar(replace(view, virtual_hosts=()), targets=found), 1, memo)
    assert other.layers[0] is first.layers[0]
    memo.begin()
    changed = targets(target(endpoint(20001), endpoint(20002)))
    second = build_xds(replace(proxy, targets=changed), 2, memo)
    assert [a is b for a, b in zip(first.layers, second.layers, strict=True)] == [False, True, True]


def test_unchanged_nodes_stay_the_same_resources_over_builds() -> None:
    memo, view, to = Memo(), outbound(), backend()
    one = target(endpoint(20001), to=to)
    first = build_xds(sidecar(view, targets=targets(one)), 1, memo)
    for revision in (2, 3, 4):
        memo.begin()
        build_xds(sidecar(view, targets=targets(one)), revision, memo)
    memo.begin()
    more = target(endpoint(20001), endpoint(20002), to=to)
    second = build_xds(sidecar(view, targets=targets(more)), 5, memo)
    assert second.get(CLUSTER, BACKEND) is first.get(CLUSTER, BACKEND)
    assert second.get(ENDPOINTS, BACKEND) is not first.get(ENDPOINTS, BACKEND)
    for kind in TYPES:
        before = {each.name: each.version for each in first.of_type(kind)}
        after = {each.name: each.version for each in second.of_type(kind)}
        changes = {name for name in after if after[name] != before[name]}
        assert changes == ({BACKEND} if kind == ENDPOINTS else set())


def test_a_build_without_memory_gives_the_same_bytes() -> None:
    memo = Memo()
    view = _everything()
    build_xds(view, 1, memo)
    memo.begin()
    again, fresh = build_xds(view, 2, memo), build_xds(view, 2, Memo())
    for kind in TYPES:
        assert [each.delta_bytes for each in again.of_type(kind)] == [each.delta_bytes for each in fresh.of_type(kind)]


def test_a_route_change_touches_no_listener() -> None:
    before = build_xds(sidecar(), 1, Memo())
    faulty = outbound(virtual_hosts=(virtual_host([rule(Forward((), timeout=1.0, websocket=True))]),))
    after = build_xds(sidecar(faulty), 2, Memo())
    assert {r.name: r.version for r in before.of_type(LISTENER)} == {r.name: r.version for r in after.of_type(LISTENER)}
    assert {r.version for r in before.of_type(ROUTES)} != {r.version for r in after.of_type(ROUTES)}


def test_a_backend_nobody_defines_is_a_problem() -> None:
    gone = BackendKey("gone.default.svc.cluster.local", 80)
    view = outbound(virtual_hosts=(virtual_host([rule(Forward((WeightedBackend(gone),)))]),))
    problems = build_xds(sidecar(view), 1, Memo()).problems
    assert [problem.code for problem in problems] == ["dangling-xds-reference"]
    assert cluster_name(gone) in problems[0].message
    assert str(problems[0].origin) == "mesh.yaml:7"


def test_on_demand_or_not_routes_say_where_they_lead() -> None:
    """A cluster is not taken away while a proxy still has a route to it, also one that it was told about on demand."""
    copy, tcp = BackendKey("copy.default.svc.cluster.local", 80), BackendKey("db.default.svc.cluster.local", 5432)
    mirrored = rule(Forward((WeightedBackend(KEY),), mirrors=(Mirror(copy),)))
    view = outbound(virtual_hosts=(virtual_host([mirrored]),), tunnels=(tunnel(("db",), 5432, tcp),))
    copies = target(to=backend(copy))
    problems = build_xds(sidecar(view, targets=targets(copies)), 1, Memo()).problems
    assert {problem.message.split("'")[1] for problem in problems} == {BACKEND, cluster_name(tcp)}
    every = replace(targets(target(), copies, target(to=backend(tcp))), on_demand=True, told=(copies,))
    built = build_xds(sidecar(replace(view, on_demand=True), targets=every), 1, Memo())
    assert built.problems == ()
    (routes,) = (each for each in built.of_type(ROUTES) if each.name == "outbound")
    needed = {name for kind, name in routes.requires if kind == CLUSTER}
    assert needed >= {BACKEND, cluster_name(copy), cluster_name(tcp)}


def test_only_the_gateway_has_its_certificates() -> None:
    assert [each.name for each in build_xds(_https(), 1, Memo()).of_type(SECRET)] == ["default/a"]
    assert not list(build_xds(_everything(), 1, Memo()).of_type(SECRET))


DATABASE = (
    service("db", 5432).replace("http-5432", "tcp-sql")
    + """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: long, namespace: other}
spec: {host: db.default, trafficPolicy: {connectionPool: {tcp: {maxConnectionDuration: 90s}}}}
"""
)


@pytest.mark.parametrize("scope", [{}, {"scope": Scope.ALL}, {"uses": ("db.default",)}], ids=str)
def test_a_tunnel_lasts_as_long_as_the_rule_of_the_callers_namespace_says(scope: dict[str, Any]) -> None:
    compiled = Compiled(DATABASE)
    for namespace, limited in (("default", False), ("other", True)):
        snapshot = build_xds(compiled.sidecar(namespace=namespace, **scope), 1, compiled.memo)
        [routes] = [each for each in snapshot.of_type(ROUTES) if each.name == "outbound"]
        assert ("90s" in str(describe_resource(routes))) is limited
