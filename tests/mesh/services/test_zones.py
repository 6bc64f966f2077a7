"""zoneAwareLbSetting: how much stays in the caller's zone, where the rest goes, and where it makes no sense."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.meshdocs import Compiled, backends, endpoints, service, workload
from weft.mesh.memo import Memo
from weft.mesh.services.zones import zone_shares
from weft.mesh.view import build_view
from weft.model.locality import locality_from_text
from weft.model.workload import Workload, WorkloadState
from weft.xds.build import build_xds
from weft.xds.snapshot import CLUSTER, ENDPOINTS

WEB = "outbound|9080||web.default.svc.cluster.local"
MESH = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {zoneAwareLbSetting: {minClusterSize: 1}}
"""


def rule(setting: str = "minClusterSize: 1", more: str = "") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web, trafficPolicy: {{loadBalancer: {{zoneAwareLbSetting: {{{setting}}}}}{more}}}}}
"""


def several(app: str, places: str) -> list[Workload]:
    """An instance of `app` at each of these places."""
    return [
        workload(app, f"v{number}", number=number, locality=locality_from_text(place))
        for number, place in enumerate(places.split(), start=1)
    ]


def shares(mesh: Compiled, caller: Workload) -> list[dict[str, int]]:
    """The priorities, each with the weights of its localities."""
    found: dict[int, dict[str, int]] = {}
    for group in endpoints(mesh.sidecar(caller))[WEB].groups:
        found.setdefault(group.priority, {})[str(group.locality)] = group.weight
    assert sorted(found) == list(range(len(found)))
    return [found[priority] for priority in sorted(found)]


@pytest.mark.parametrize(
    ("callers", "callees", "expected"),
    [
        ("a/x", "a/x a/y", [{"a/x": 5000, "a/y": 5000}]),
        ("a/x a/y", "a/x a/y", [{"a/x": 10000}, {"a/y": 0}]),
        ("a/x a/y a/y", "a/x a/y", [{"a/x": 10000}, {"a/y": 0}]),
        ("a/x a/x a/x a/y", "a/x a/y", [{"a/x": 6667, "a/y": 3333}]),
        ("a/x a/y", "a/x a/y a/y a/y", [{"a/x": 5000, "a/y": 5000}]),
        ("a/x a/y a/z", "a/x a/y a/y a/y a/z a/z", [{"a/x": 5000, "a/y": 5000}, {"a/z": 0}]),
        ("a/x", "a/x/1 a/x/2 a/x/2 a/y", [{"a/x/1": 2500, "a/x/2": 5000, "a/y": 2500}]),
        ("a/x b/z b/z", "a/x a/y b/z", [{"a/x": 5000, "a/y": 5000}, {"b/z": 0}]),
        ("a/x a/y", "a/x a/y b/z", [{"a/x": 10000}, {"a/y": 0}, {"b/z": 0}]),
    ],
)
def test_calls_stay_in_the_zone_as_far_as_it_can_take_them(
    callers: str, callees: str, expected: list[dict[str, int]]
) -> None:
    clients = several("client", callers)
    mesh = Compiled(service("web"), rule(), workloads=[*clients, *several("web", callees)])
    assert shares(mesh, clients[0]) == expected


@pytest.mark.parametrize(
    ("setting", "place", "callees", "expected"),
    [
        ("minClusterSize: 3", "a/x", "a/x a/y", []),
        ("", "a/x", "a/x a/y a/x a/y a/x", []),
        ("", "a/x", "a/x a/y a/x a/y a/x a/y", [{"a/x": 5000, "a/y": 5000}]),
        ("minClusterSize: 1", "a/w", "a/x a/y", []),
        ("minClusterSize: 1", "a", "a/x a/y", []),
        ("minClusterSize: 1", "", "a/x a/y b/z", []),
        ("minClusterSize: 1", "a/x", "a/x a/x", []),
        ("minClusterSize: 1", "c/x", "a/x a/y", []),
        ("minClusterSize: 1", "a/w", "a/x a/y b/z", [{"a/x": 0, "a/y": 0}, {"b/z": 0}]),
        ("enabled: false", "a/x", "a/x a/y b/z", []),
        (
            "minClusterSize: 1, failover: [{from: a, to: c}]",
            "a/x",
            "a/x a/y b/z c/z",
            [{"a/x": 5000, "a/y": 5000}, {"c/z": 0}, {"b/z": 0}],
        ),
    ],
)
def test_where_zones_make_no_sense_all_of_the_region_is_the_same(
    setting: str, place: str, callees: str, expected: list[dict[str, int]]
) -> None:
    caller = workload("client", locality=locality_from_text(place))
    mesh = Compiled(service("web"), rule(setting), workloads=[caller, *several("web", callees)])
    assert shares(mesh, caller) == expected


def test_labels_come_before_regions_and_zones() -> None:
    caller = workload("client", locality=locality_from_text("a/x"))
    others = several("web", "a/x a/x a/y b/z")
    mesh = Compiled(
        service("web"), rule("minClusterSize: 1, failoverPriority: [version=v4]"), workloads=[caller, *others]
    )
    assert shares(mesh, caller) == [{"b/z": 0}, {"a/x": 0, "a/y": 0}]


def test_the_mesh_may_say_so_and_a_rule_may_take_it_back() -> None:
    caller = workload("client", locality=locality_from_text("a/x"))
    everybody = [caller, *several("web", "a/x a/y")]
    assert shares(Compiled(service("web"), MESH, workloads=everybody), caller) == [{"a/x": 5000, "a/y": 5000}]
    assert shares(Compiled(service("web"), MESH, rule("enabled: false"), workloads=everybody), caller) == []


def test_weights_and_who_drains_count_as_they_should() -> None:
    clients = [*several("client", "a/x"), workload("client", "v9", number=9, locality=locality_from_text("a/y"))]
    gone = workload("web", "v8", number=8, locality=locality_from_text("a/x"), state=WorkloadState.DRAINING)
    heavy = workload("web", "v7", number=7, locality=locality_from_text("a/y"), weight=3)
    mesh = Compiled(service("web"), rule(), workloads=[*clients, *several("web", "a/x"), gone, heavy])
    assert shares(mesh, clients[0]) == [{"a/x": 5000, "a/y": 5000}]  # one of four, and half of the callers


def test_callers_of_other_services_and_namespaces_do_not_count() -> None:
    caller = workload("client", locality=locality_from_text("a/x"))
    others = [
        workload("other", locality=locality_from_text("a/y"), number=40),
        workload("client", "v5", namespace="shop", locality=locality_from_text("a/y"), number=41),
    ]
    mesh = Compiled(service("web"), rule(), workloads=[caller, *others, *several("web", "a/x a/y")])
    assert shares(mesh, caller) == [{"a/x": 5000, "a/y": 5000}]


def test_a_cluster_is_told_of_weights_and_says_nothing_of_callers() -> None:
    memo = Memo()
    first = [*several("client", "a/x"), *several("web", "a/x a/y")]
    mesh = Compiled(service("web"), service("other"), rule(), workloads=first, memo=memo)
    before = build_xds(mesh.sidecar(first[0]), 1, memo)
    assert backends(mesh.sidecar(first[0]))[WEB].policy.nearness is not None
    [cluster] = [each.body for each in before.of_type(CLUSTER) if each.name == WEB]
    second = [*several("client", "a/x a/y"), *first[1:]]
    after = build_xds(
        Compiled(service("web"), service("other"), rule(), workloads=second, memo=memo).sidecar(second[0]), 2, memo
    )
    assert [each.body for each in after.of_type(CLUSTER) if each.name == WEB] == [cluster]
    changed = {each.name for each in after.of_type(ENDPOINTS)} & {
        each.name
        for each in before.of_type(ENDPOINTS)
        if each.body not in {one.body for one in after.of_type(ENDPOINTS)}
    }
    assert changed == {WEB}


def test_callers_of_one_service_and_zone_share_what_they_are_told() -> None:
    clients = several("client", "a/x a/x a/y")
    mesh = Compiled(service("web"), rule(), workloads=[*clients, *several("web", "a/x a/y")])
    one, two, other = (build_view(mesh.mesh, each, mesh.memo).targets for each in clients)
    assert one is two
    assert one is not other


ZONES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1)


@given(ZONES, ZONES)
def test_all_instances_get_the_same_share_of_all_calls(callers: dict[str, int], callees: dict[str, int]) -> None:
    """Where every zone of callers has instances of the callee: who has none sends to all alike."""
    callers = {zone: size for zone, size in callers.items() if zone in callees}
    if not callers:
        return
    load = dict.fromkeys(callees, Fraction(0))
    for zone, size in callers.items():
        found = zone_shares(zone, callers, callees)
        assert sum(found.values()) == 1
        assert all(share > 0 for share in found.values())
        for to, share in found.items():
            load[to] += size * share
    total = sum(callers.values())
    assert load == {zone: Fraction(total * size, sum(callees.values())) for zone, size in callees.items()}
