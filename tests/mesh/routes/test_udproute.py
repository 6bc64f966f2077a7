"""UDPRoute: who gets which share of a gateway's UDP port, what keeps it closed, and what documents are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import Compiled, documents, gateway_workload, workload
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.mesh.views import DatagramPort, GatewayView
from weft.model.snapshot import ConfigSnapshot

DNS = """
---
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {selector: {app: dns}, ports: [{name: dns, port: 53, protocol: UDP, targetPort: 5353}, {name: tcp, port: 54}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: dns-1}
spec: {address: 192.0.2.1, labels: {app: dns}}
"""
EDGE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
    - {name: tcp, port: 53, protocol: TCP}
    - {name: udp, port: 53, protocol: UDP}
"""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  action: %s
  rules: [{from: [{source: {ipBlocks: [192.0.2.0/24]}}]}]
"""


def route(backends: str, *, name: str = "dns", parent: str = "{name: edge}", version: str = "v1") -> str:
    """A UDPRoute with one parent."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/{version}
kind: UDPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{backends}]}}]}}
"""


def shares(port: DatagramPort) -> list[tuple[int, list[str]]]:
    """The weights, each with the addresses that have it."""
    return [(each.weight, [str(one.address) for one in each.endpoints]) for each in port.shares]


TO_DNS = "{name: dns, port: 53}"


@pytest.mark.parametrize("version", ["v1", "v1alpha2"])
def test_a_listener_for_udp_beside_one_for_tcp(version: str) -> None:
    mesh = Compiled(DNS, EDGE, route(TO_DNS, version=version))
    view = mesh.gateway("edge")
    assert mesh.codes == []
    assert [(port.port, shares(port)) for port in view.datagrams] == [(53, [(1, ["192.0.2.1:5353"])])]
    assert [(port.port, port.protocol) for port in view.ports] == [(53, "TCP")]


def test_what_does_not_exist_keeps_its_share_to_itself() -> None:
    mesh = Compiled(DNS, EDGE, route("{name: dns, port: 53, weight: 3}, {name: dns, port: 54}, {name: none, port: 53}"))
    [port] = mesh.gateway("edge").datagrams
    assert shares(port) == [(3, ["192.0.2.1:5353"]), (1, []), (1, [])]
    assert mesh.codes == ["unknown-port", "unknown-service"]


def test_the_oldest_route_has_the_listener_and_a_listener_without_one_drops() -> None:
    mesh = Compiled(DNS, EDGE, route(TO_DNS, name="a"), route("{name: dns, port: 53, weight: 7}", name="b"))
    [port] = mesh.gateway("edge").datagrams
    assert (shares(port), mesh.codes) == ([(1, ["192.0.2.1:5353"])], ["kind-conflict"])
    [port] = Compiled(DNS, EDGE).gateway("edge").datagrams
    assert port.shares == ()


def test_other_parents_are_refused() -> None:
    mesh = Compiled(DNS, EDGE, route(TO_DNS, parent="{name: edge, sectionName: tcp}"))
    assert mesh.codes == ["wrong-protocol"]
    mesh = Compiled(DNS, EDGE, route(TO_DNS, parent='{group: "", kind: Service, name: dns}'))
    assert mesh.codes == ["udp-in-mesh"]


@pytest.mark.parametrize(("action", "opened"), [("ALLOW", 0), ("DENY", 0), ("AUDIT", 1)])
def test_a_policy_that_may_refuse_somebody_closes_the_port(action: str, opened: int) -> None:
    mesh = Compiled(DNS, EDGE, route(TO_DNS), POLICY % action)
    view = mesh.gateway("edge")
    assert (len(view.datagrams), len(view.ports)) == (opened, 1)
    assert mesh.codes == ([] if opened else ["udp-closed"])


@pytest.mark.parametrize(("workers", "shared"), [(1, False), (2, True), (0, True)])
def test_several_worker_threads_share_the_port(workers: int, shared: bool) -> None:
    mesh = Compiled(DNS, EDGE, route(TO_DNS))
    view = build_view(mesh.mesh, replace(gateway_workload("edge"), workers=workers), mesh.memo)
    assert isinstance(view, GatewayView)
    assert [port.shared for port in view.datagrams] == [shared]


def test_workloads_and_instances_with_a_proxy_get_no_datagram() -> None:
    meshed = DNS.replace("app: dns}}", "app: dns, security.istio.io/tlsMode: istio}, serviceAccount: dns}").replace(
        "labels: {app: dns}", "labels: {app: dns, security.istio.io/tlsMode: istio}, serviceAccount: dns"
    )
    [port] = Compiled(meshed, EDGE, route(TO_DNS)).gateway("edge").datagrams
    assert shares(port) == [(1, [])]


def test_names_are_no_endpoints() -> None:
    external = """
---
apiVersion: v1
kind: Service
metadata: {name: named}
spec: {type: ExternalName, externalName: dns.example.com, ports: [{port: 53, protocol: UDP}]}
"""
    named = DNS.replace("address: 192.0.2.1", "address: dns.example.com") + external
    [port] = Compiled(named, EDGE, route(f"{TO_DNS}, {{name: named, port: 53}}")).gateway("edge").datagrams
    assert shares(port) == [(1, []), (1, [])]


def test_a_build_without_changes_gives_the_same_ports() -> None:
    memo, given = Memo(), documents(DNS + EDGE + route(TO_DNS))
    proxy = gateway_workload("edge")
    found = []
    for revision in (1, 2):
        mesh = build_mesh(ConfigSnapshot(revision, given, (workload("a"), proxy)), memo)
        view = build_view(mesh, proxy, memo)
        assert isinstance(view, GatewayView)
        found.append(view)
    assert found[0].datagrams[0] is found[1].datagrams[0]
