"""Sidecars: what proxies are told of, what they do with other hosts, and which ports they serve."""

from __future__ import annotations

from support.meshdocs import HOST, Compiled, service, upstream, workload
from weft.mesh.memo import Memo
from weft.mesh.services.service import Protocol
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.snapshot import MeshSettings, OutboundPolicy
from weft.model.workload import SocketAddress
from weft.xds.build import build_xds
from weft.xds.snapshot import CLUSTER, LISTENER

SERVICES = service("reviews") + service("client") + service("ratings", 9080, 9090) + service("cart", namespace="shop")
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: istio-system}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
"""


def sidecar(rest: str, name: str = "default", namespace: str = "default") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{rest}}}
"""


def named(view: SidecarView) -> set[str]:
    """The hosts that a proxy is told of, each with its port."""
    return {host.name.replace(".svc.cluster.local", "") for host in view.outbound.virtual_hosts}


def told(view: SidecarView) -> set[str]:
    """The clusters that a proxy is told of at once."""
    found = view.targets.targets() if not view.targets.on_demand else view.targets.told
    return {f"{each.backend.key.host.partition('.svc')[0]}:{each.backend.key.port}" for each in found}


def test_egress_hosts_are_all_that_a_proxy_is_told_of() -> None:
    mesh = Compiled(SERVICES, ENTRY, sidecar("egress: [{hosts: ['./*', 'istio-system/*']}]"))
    assert not mesh.codes
    view = mesh.sidecar()
    expected = {"reviews.default:9080", "client.default:9080", "ratings.default:9080", "ratings.default:9090"}
    assert named(view) == expected | {"api.example.com:80"}
    assert told(view) == expected | {"api.example.com:80"}
    assert not view.targets.on_demand


def test_no_listener_changes_when_a_sidecar_says_what_may_be_called() -> None:
    """Long connections outlive it, and who is told less than before still asks for what it then misses."""

    def listeners(*documents: str) -> dict[str, str]:
        mesh = Compiled(SERVICES, *documents)
        client = workload("client", upstreams=(upstream("reviews", 9080),))
        snapshot = build_xds(build_view(mesh.mesh, client, mesh.memo), 1, mesh.memo)
        return {each.name: each.version for each in snapshot.of_type(LISTENER)}

    assert listeners(sidecar("egress: [{hosts: ['./*']}]")) == listeners()


def test_a_host_may_be_named_exactly_or_by_a_wildcard_in_any_namespace() -> None:
    def seen(*hosts: str) -> set[str]:
        return named(Compiled(SERVICES, ENTRY, sidecar(f"egress: [{{hosts: {list(hosts)}}}]")).sidecar())

    assert seen("*/api.example.com") == {"api.example.com:80"}
    assert seen("shop/cart.shop.svc.cluster.local") == {"cart.shop:9080"}
    assert seen("*/*.shop.svc.cluster.local") == {"cart.shop:9080"}
    assert seen("~/*") == set()
    assert seen("default/cart.shop.svc.cluster.local", "./reviews") == {"reviews.default:9080"}


def test_a_listener_with_a_port_is_for_that_port_and_the_other_for_the_rest() -> None:
    rest = "egress: [{port: {number: 9090, protocol: HTTP, name: h}, hosts: ['./*']}, {hosts: ['shop/*']}]"
    assert named(Compiled(SERVICES, sidecar(rest)).sidecar()) == {"ratings.default:9090", "cart.shop:9080"}
    assert told(Compiled(SERVICES, sidecar(rest)).sidecar()) == {"ratings.default:9090", "cart.shop:9080"}


def test_the_narrowest_is_in_force_and_inherits_what_it_does_not_say() -> None:
    texts = (
        SERVICES,
        sidecar(
            "egress: [{hosts: ['shop/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}", namespace="istio-system"
        ),
        sidecar("workloadSelector: {labels: {app: client}}, outboundTrafficPolicy: {mode: ALLOW_ANY}", "own"),
        sidecar("egress: [{hosts: ['./reviews.default.svc.cluster.local']}]"),
    )
    mesh = Compiled(*texts)
    own, other, far = mesh.sidecar(), mesh.sidecar(workload("reviews")), mesh.sidecar(workload("x", namespace="far"))
    assert named(own) == named(other) == {"reviews.default:9080"}
    assert named(far) == {"cart.shop:9080"}
    assert (own.outbound.allow_any, other.outbound.allow_any, far.outbound.allow_any) == (True, False, False)


def test_a_selector_in_the_root_namespace_is_for_its_own_workloads() -> None:
    text = sidecar("workloadSelector: {labels: {app: client}}, egress: [{hosts: ['~/*']}]", namespace="istio-system")
    assert len(named(Compiled(SERVICES, text).sidecar())) == 5


def test_unknown_hosts_pass_or_not_by_namespace_and_workload() -> None:
    closed = MeshSettings(outbound_policy=OutboundPolicy.REGISTRY_ONLY)
    opened = sidecar("outboundTrafficPolicy: {mode: ALLOW_ANY}, workloadSelector: {labels: {app: client}}")
    mesh = Compiled(SERVICES, opened, settings=closed)
    assert mesh.ask("www.example.com/").passthrough
    assert not mesh.ask("www.example.com/", workload("reviews")).passthrough


def test_without_a_sidecar_nothing_changes() -> None:
    text = sidecar("egress: [{hosts: ['~/*']}]", namespace="shop")
    mesh, plain = Compiled(SERVICES, text), Compiled(SERVICES)
    assert named(mesh.sidecar()) == named(plain.sidecar())
    assert mesh.sidecar().targets.on_demand


def test_ingress_listeners_are_the_ports_that_are_served() -> None:
    rest = (
        "ingress: [{port: {number: 9080, protocol: TCP, name: t}, defaultEndpoint: '127.0.0.1:7000',"
        " connectionPool: {tcp: {maxConnections: 3}}}], inboundConnectionPool: {http: {http1MaxPendingRequests: 9}}"
    )
    [port] = Compiled(SERVICES, sidecar(rest)).sidecar(workload("client")).inbound
    assert (port.port, port.protocol, port.application) == (9080, Protocol.TCP, SocketAddress(HOST, 7000))
    assert port.limits.max_connections == 3
    pool = "inboundConnectionPool: {http: {http1MaxPendingRequests: 9}}"
    [port] = Compiled(SERVICES, sidecar(pool)).sidecar(workload("client")).inbound
    assert (port.protocol, port.limits.max_pending_requests) == (Protocol.HTTP, 9)
    nothing = "ingress: [{port: {number: 1, protocol: HTTP, name: h}}]"
    mesh = Compiled(SERVICES, sidecar(nothing), workloads=[workload("client")])
    assert mesh.sidecar(workload("client")).inbound == ()
    assert "ingress-not-served" in [problem.code for problem in mesh.mesh.idle]


def test_ports_are_served_so_whoever_may_call_them_too() -> None:
    """A policy that asks for something leaves the application where the Sidecar says that it is."""
    rest = "ingress: [{port: {number: 9080, protocol: HTTP, name: h}, defaultEndpoint: '127.0.0.1:7000'}]"
    policy = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: read}
spec: {rules: [{to: [{operation: {methods: [%s]}}]}]}
"""
    memo, server = Memo(), workload("reviews")
    plain = Compiled(SERVICES, sidecar(rest), memo=memo).sidecar(server)
    [cluster] = _applications(plain, memo)
    assert SocketAddress(HOST, 7000) == plain.inbound[0].application
    asked = [
        Compiled(SERVICES, sidecar(rest), policy % method, memo=memo).sidecar(server) for method in ("GET", "POST")
    ]
    for view in asked:
        assert _applications(view, memo) == [cluster]


def _applications(view: SidecarView, memo: Memo) -> list[bytes]:
    return [each.body for each in build_xds(view, 1, memo).of_type(CLUSTER) if each.name.startswith("inbound")]


def test_what_is_said_twice_or_names_nothing_is_told() -> None:
    twice = sidecar("egress: [{hosts: ['./*']}]", "a") + sidecar("egress: [{hosts: ['./*']}]", "b")
    assert Compiled(SERVICES, twice).codes == ["sidecar-conflict"]
    assert Compiled(SERVICES, sidecar("egress: [{hosts: ['./nobody.example.com']}]")).codes == ["egress-host-unknown"]
