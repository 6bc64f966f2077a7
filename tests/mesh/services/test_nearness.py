"""Which endpoints a caller prefers, by where it runs: failover, labels, shares, and callers that are all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.meshdocs import Compiled, endpoints, gateway_workload, service, workload
from weft.mesh.services.service import EndpointGroup
from weft.mesh.view import build_view
from weft.model.locality import Locality, locality_from_text
from weft.model.workload import Workload
from weft.xds.build import build_xds
from weft.xds.snapshot import CLUSTER, ENDPOINTS

WEB = "outbound|9080||web.default.svc.cluster.local"
OUTLIER = "outlierDetection: {consecutive5xxErrors: 3}"


def rule(setting: str, outlier: str = OUTLIER, namespace: str = "default") -> str:
    balancer = f"loadBalancer: {{localityLbSetting: {setting}}}" if setting else ""
    policy = ", ".join(part for part in (balancer, outlier) if part)
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: {namespace}}}
spec: {{host: web.default.svc.cluster.local, trafficPolicy: {{{policy}}}}}
"""


def web(place: str, number: int, **changes: Any) -> Workload:
    return workload("web", f"v{number}", number=number, locality=locality_from_text(place), **changes)


SIX = tuple(
    web(place, number) for number, place in enumerate(("a/a1/x", "a/a1/y", "a/a2/x", "b/b1/x", "c/c1/x", ""), start=1)
)


def order(mesh: Compiled, place: str, **changes: Any) -> list[str]:
    """The priorities, each as the numbers of its endpoints; empty where all are the same."""
    caller = workload("client", locality=locality_from_text(place), **changes)
    groups = endpoints(mesh.sidecar(caller))[WEB].groups
    found: dict[int, list[str]] = {}
    for group in groups:
        found.setdefault(group.priority, []).extend(one.workload.split(".")[0][-1] for one in group.endpoints)
    assert sorted(found) == list(range(len(found)))
    return ["".join(sorted(found[priority])) for priority in sorted(found)]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a/a1/x", ["1", "2", "3", "456"]),
        ("a/a1", ["12", "3", "456"]),
        ("a/a2/x", ["3", "12", "456"]),
        ("b/b1/x", ["4", "12356"]),
        ("z", []),
        ("", []),
    ],
)
def test_callers_prefer_what_is_near(place: str, expected: list[str]) -> None:
    assert order(Compiled(service("web"), rule(""), workloads=SIX), place) == expected


def test_a_region_fails_over_to_the_one_that_is_named() -> None:
    mesh = Compiled(service("web"), rule("{failover: [{from: a, to: c}]}"), workloads=SIX)
    assert order(mesh, "a/a1/x") == ["1", "2", "3", "5", "46"]
    assert order(mesh, "b/b1/x") == ["4", "12356"]


def test_labels_order_endpoints_by_how_many_of_them_fit() -> None:
    setting = '{failoverPriority: ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]}'
    mesh = Compiled(service("web"), rule(setting), workloads=SIX)
    assert order(mesh, "a/a1/x") == ["12", "3", "456"]
    assert order(mesh, "") == ["6", "12345"]


def test_a_label_with_a_value_is_the_same_for_every_caller() -> None:
    mesh = Compiled(service("web"), rule("{failoverPriority: [version=v4, app]}"), workloads=SIX)
    assert order(mesh, "a/a1/x") == order(mesh, "") == ["4", "12356"]


def test_labels_and_a_region_to_fail_over_to() -> None:
    mesh = Compiled(
        service("web"), rule("{failover: [{from: a, to: c}], failoverPriority: [version=v3]}"), workloads=SIX
    )
    assert order(mesh, "a/a1/x") == ["3", "1", "2", "5", "46"]


def test_an_order_needs_outlier_detection_and_can_be_turned_off() -> None:
    for setting, outlier in (("{failover: [{from: a, to: b}]}", ""), ("{enabled: false}", OUTLIER)):
        assert order(Compiled(service("web"), rule(setting, outlier), workloads=SIX), "a/a1/x") == []
    assert order(Compiled(service("web"), workloads=SIX), "a/a1/x") == []


def shares(mesh: Compiled, place: str) -> dict[str, int]:
    caller = workload("client", locality=locality_from_text(place))
    groups: tuple[EndpointGroup, ...] = endpoints(mesh.sidecar(caller))[WEB].groups
    assert all(group.priority == 0 for group in groups)
    return {str(group.locality): group.weight for group in groups}


def test_shares_are_divided_and_the_rest_gets_nothing() -> None:
    setting = '{distribute: [{from: "a/*", to: {"a/a1/*": 61, "a/a2": 19, c: 20}}, {from: b/b1, to: {"*": 100}}]}'
    mesh = Compiled(service("web"), rule(setting, outlier=""), workloads=SIX)
    assert shares(mesh, "a/a2/x") == {"a/a1/x": 31, "a/a1/y": 31, "a/a2/x": 19, "c/c1/x": 20}
    assert shares(mesh, "b/b1/q") == dict.fromkeys(("", "a/a1/x", "a/a1/y", "a/a2/x", "b/b1/x", "c/c1/x"), 17)
    assert shares(mesh, "c") == dict.fromkeys(("", "a/a1/x", "a/a1/y", "a/a2/x", "b/b1/x", "c/c1/x"), 1)


def test_a_service_may_ask_for_what_is_close() -> None:
    for word in ("PreferClose", "PreferSameZone"):
        mesh = Compiled(service("web", extra=f"  trafficDistribution: {word}\n"), workloads=SIX)
        assert order(mesh, "a/a1/x") == ["12", "3", "456"]
        assert order(mesh, "a/a1/x", namespace="other") == ["12", "3", "456"]


def test_the_rule_wins_over_the_service_and_the_service_over_the_mesh() -> None:
    close = service("web", extra="  trafficDistribution: PreferClose\n")
    mesh_wide = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {localityLbSetting: %s}
"""
    wide = mesh_wide % "{failoverPriority: [version=v5]}"
    assert order(Compiled(close, rule("{failoverPriority: [version=v3]}"), wide, workloads=SIX), "a") == ["3", "12456"]
    assert order(Compiled(close, rule(""), wide, workloads=SIX), "a/a1") == ["12", "3", "456"]
    assert order(Compiled(service("web"), rule(""), wide, workloads=SIX), "a") == ["5", "12346"]
    assert order(Compiled(service("web"), rule(""), mesh_wide % "{enabled: false}", workloads=SIX), "a") == []
    assert order(Compiled(service("web"), wide, workloads=SIX), "a") == []


def test_a_rule_of_the_callers_namespace_orders_for_its_callers_only() -> None:
    mesh = Compiled(service("web"), rule("", namespace="other"), workloads=SIX)
    assert order(mesh, "a/a1/x") == []
    assert order(mesh, "a/a1/x", namespace="other") == ["1", "2", "3", "456"]


def test_gateways_prefer_what_is_near_too() -> None:
    gateway = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 9080}]}]
"""
    mesh = Compiled(service("web"), rule(""), gateway, workloads=SIX)
    near = replace(gateway_workload("edge"), locality=Locality("b", "b1"))
    view = build_view(mesh.mesh, near, mesh.memo)
    assert [group.priority for group in endpoints(view)[WEB].groups if group.locality.region == "b"] == [0]


def test_callers_of_one_place_share_what_they_are_told_and_without_a_policy_all_do() -> None:
    mesh = Compiled(service("web"), service("plain"), rule(""), workloads=SIX)
    here, there = Locality("a", "a1"), Locality("b")
    first = mesh.sidecar(workload("one", locality=here))
    assert mesh.sidecar(workload("two", locality=here)).targets is first.targets
    assert mesh.sidecar(workload("two", locality=there)).targets is not first.targets
    mesh = Compiled(service("web"), workloads=SIX)
    first = mesh.sidecar(workload("one", locality=here))
    assert mesh.sidecar(workload("two", locality=there)).targets is first.targets


def test_an_order_changes_nothing_but_the_endpoints_of_the_service() -> None:
    mesh = Compiled(service("web"), service("plain"), rule(""), workloads=SIX)
    made = [
        build_xds(mesh.sidecar(workload("one", locality=place)), 1, mesh.memo)
        for place in (Locality("a", "a1"), Locality("b"))
    ]
    first, second = (one.layers[0].by_type for one in made)
    assert first[CLUSTER] == second[CLUSTER]
    assert [name for name, each in first[ENDPOINTS].items() if each is not second[ENDPOINTS][name]] == [WEB]
