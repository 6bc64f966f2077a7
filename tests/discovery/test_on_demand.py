"""Clusters on demand: told to delta clients by name only, always answered, kept while they exist; eager to others."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from support.discovery import layer, resource
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, ResourceSet, XdsSnapshot

A1, X1, X2, Y1 = (
    resource(CLUSTER, name, version) for name, version in (("a", "1"), ("x", "1"), ("x", "2"), ("y", "1"))
)
L1 = resource(LISTENER, "l", "1", requires=((ROUTES, "r"),))
R1, R2 = (
    resource(ROUTES, "r", version, requires=tuple((CLUSTER, name) for name in names))
    for version, names in (("1", "axy"), ("2", "ay"))
)


def lazy(*resources: Resource) -> ResourceSet:
    return ResourceSet({CLUSTER: {one.name: one for one in resources}}, on_demand=True)


def snapshot(revision: int, *on_demand: Resource, eager: tuple[Resource, ...] = (A1, L1, R1)) -> XdsSnapshot:
    return XdsSnapshot(revision, (layer(*eager), lazy(*on_demand)))


def settle(machine: DeltaSession) -> list[tuple[str, list[str], list[str]]]:
    """Accept everything; what came, as type, added, removed."""
    came = []
    while (out := machine.next()) is not None:
        response = DeltaDiscoveryResponse.FromString(out.body)
        added = [f"{one.name}={one.version}" for one in response.resources]
        came.append((response.type_url.rpartition(".")[2], added, list(response.removed_resources)))
        machine.receive(DeltaRequest(response.type_url, nonce=response.nonce))
    return came


def loaded(first: XdsSnapshot, remembered: frozenset[str] = frozenset(), batch: int = 32) -> DeltaSession:
    machine = DeltaSession(first, Shared(), Limits(batch=batch), remembered)
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    settle(machine)
    machine.receive(DeltaRequest(ROUTES, ("r",)))
    settle(machine)
    assert machine.acked_revision == first.revision
    return machine


def test_a_wildcard_does_not_bring_them_and_routes_do_not_wait_for_them() -> None:
    machine = DeltaSession(snapshot(1, X1, Y1), Shared(), Limits())
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    assert settle(machine) == [("Cluster", ["a=1"], []), ("Listener", ["l=1"], [])]
    machine.receive(DeltaRequest(ROUTES, ("r",)))
    assert settle(machine) == [("RouteConfiguration", ["r=1"], [])]
    assert machine.acked_revision == 1
    assert machine.asked == frozenset()


def test_a_name_is_answered_at_once_and_followed_from_then_on() -> None:
    machine = loaded(snapshot(1, X1, Y1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    assert machine.asked == {"x"}
    assert settle(machine) == [("Cluster", ["x=1"], [])]
    machine.offer(snapshot(2, X2, resource(CLUSTER, "y", "2")))
    assert settle(machine) == [("Cluster", ["x=2"], [])], "what was not asked for is not told"
    assert machine.acked_revision == 2


@pytest.mark.parametrize("again", [DeltaRequest(CLUSTER, ("x",)), DeltaRequest(CLUSTER, unsubscribe=("x",))])
def test_what_is_asked_for_again_or_dropped_is_not_removed_while_it_is_used(again: DeltaRequest) -> None:
    """The client goes on using what it holds: it is sent once more, or is gone when nothing leads to it any more."""
    machine = loaded(snapshot(1, X1, Y1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    settle(machine)
    machine.receive(again)
    machine.offer(snapshot(2, Y1, eager=(A1, L1, R2)))
    assert settle(machine) == [("RouteConfiguration", ["r=2"], []), ("Cluster", [], ["x"])]
    assert machine.acked_revision == 2


def test_what_is_asked_for_while_it_is_on_the_way_is_not_removed_while_it_is_used() -> None:
    machine = DeltaSession(snapshot(1, X1, Y1), Shared(), Limits())
    for kind in (CLUSTER, LISTENER):
        machine.receive(DeltaRequest(kind))
    machine.receive(DeltaRequest(ROUTES, ("r",)))
    settle(machine)
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    out = machine.next()
    assert out is not None
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    machine.offer(snapshot(2, Y1, eager=(A1, L1, R2)))
    machine.receive(DeltaRequest(CLUSTER, nonce=out.nonce))
    assert settle(machine) == [("RouteConfiguration", ["r=2"], []), ("Cluster", [], ["x"])]


def test_a_name_that_does_not_exist_is_answered_and_pushed_when_it_does() -> None:
    machine = loaded(snapshot(1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    assert settle(machine) == [("Cluster", [], ["x"])]
    assert machine.asked == frozenset()
    assert list(machine.unmet()) == [], "it may have existed when it was asked for first"
    machine.offer(snapshot(2, X1))
    assert settle(machine) == [("Cluster", ["x=1"], [])]
    assert machine.asked == {"x"}


def test_a_name_that_the_client_has_anyway_is_answered_too() -> None:
    machine = loaded(snapshot(1, X1))
    machine.receive(DeltaRequest(CLUSTER, ("a",)))
    assert settle(machine) == [("Cluster", ["a=1"], [])]
    assert machine.asked == frozenset(), "it is not on demand"


def test_what_was_asked_for_stays_until_it_is_gone_and_nothing_leads_to_it() -> None:
    machine = loaded(snapshot(1, X1, Y1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    settle(machine)
    machine.offer(snapshot(2, X1, Y1, eager=(A1, L1, R2)))
    assert settle(machine) == [("RouteConfiguration", ["r=2"], [])], "it exists: it stays"
    machine.offer(snapshot(3, Y1, eager=(A1, L1, resource(ROUTES, "r", "3", requires=((CLUSTER, "a"),)))))
    assert settle(machine) == [("Cluster", [], ["x"]), ("RouteConfiguration", ["r=3"], [])], "no route led to it"


def test_a_cluster_that_becomes_eager_and_back_again() -> None:
    machine, other = loaded(snapshot(1, X1)), loaded(snapshot(1, X1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    settle(machine)
    both = snapshot(2, X1, eager=(A1, X1, L1, R1))
    for session in (machine, other):
        session.offer(both)
    assert settle(machine) == [], "it holds that very version"
    assert settle(other) == [("Cluster", ["x=1"], [])]
    for session in (machine, other):
        session.offer(snapshot(3, X1))
    assert settle(machine) == []
    assert settle(other) == [("Cluster", [], ["x"])], "only pushed, not asked for"


def test_remembered_names_come_with_the_wildcard() -> None:
    for batch in (1, 32):
        machine = DeltaSession(snapshot(1, X1, Y1), Shared(), Limits(batch=batch), frozenset({"x", "gone", "a"}))
        machine.receive(DeltaRequest(CLUSTER))
        machine.receive(DeltaRequest(LISTENER))
        came = settle(machine)
        assert sorted(name for kind, added, _ in came if kind == "Cluster" for name in added) == ["a=1", "x=1"]
        assert machine.acked_revision == 1
        machine.offer(snapshot(2, X2, Y1))
        assert settle(machine) == [("Cluster", ["x=2"], [])]
        machine.offer(snapshot(3, X2, Y1, resource(CLUSTER, "gone", "1")))
        assert settle(machine) == [("Cluster", ["gone=1"], [])], "it exists again"


def test_reconnect_lists_everything_by_name_and_costs_nothing() -> None:
    machine = DeltaSession(snapshot(9, X1, Y1), Shared(), Limits(), frozenset({"y"}))
    held = {"a": "1", "x": "1", "y": "1", "old": "1"}
    machine.receive(DeltaRequest(CLUSTER, ("*", "x"), initial_versions=held))
    machine.receive(DeltaRequest(LISTENER, ("*",), initial_versions={"l": "1"}))
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "1"}))
    assert machine.asked == {"x"}
    assert settle(machine) == [("Cluster", [], ["old"])]
    assert machine.acked_revision == 9


def test_a_pushed_cluster_that_is_not_remembered_goes_with_the_next_stream() -> None:
    machine = DeltaSession(snapshot(9, X1), Shared(), Limits())
    machine.receive(DeltaRequest(CLUSTER, ("*",), initial_versions={"a": "1", "x": "1"}))
    machine.receive(DeltaRequest(LISTENER, ("*",), initial_versions={"l": "1"}))
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "1"}))
    assert settle(machine) == [("Cluster", [], ["x"])]


def test_endpoints_are_told_by_name_wherever_they_stand() -> None:
    on_demand = ResourceSet(
        {CLUSTER: {"x": X1}, ENDPOINTS: {"x": resource(ENDPOINTS, "x", "1")}},
        on_demand=True,
    )
    machine = loaded(XdsSnapshot(1, (layer(A1, L1, R1), on_demand)))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    machine.receive(DeltaRequest(ENDPOINTS, ("x",)))
    assert settle(machine) == [("Cluster", ["x=1"], []), ("ClusterLoadAssignment", ["x=1"], [])]


def test_a_refused_cluster_on_demand_holds_nothing_else_up() -> None:
    machine = loaded(snapshot(1, X1, Y1))
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    out = machine.next()
    assert out is not None
    refused = machine.receive(DeltaRequest(CLUSTER, nonce=out.nonce, error="no"))
    assert [one.name for one in refused] == ["x"]
    assert machine.acked_revision == 1
    machine.receive(DeltaRequest(CLUSTER, ("y",)))
    assert settle(machine) == [("Cluster", ["y=1"], [])]


def test_state_of_the_world_clients_get_the_whole() -> None:
    machine = SotwSession(snapshot(1, X1, Y1, eager=(A1, X1, L1, R1)), Shared(), Limits())
    machine.receive(SotwRequest(CLUSTER))
    out = machine.next()
    assert out is not None
    whole = DiscoveryResponse.FromString(out.body)
    assert [one.value.decode() for one in whole.resources] == ["a=1", "x=1", "y=1"]
    machine.receive(SotwRequest(CLUSTER, nonce=out.nonce, version=whole.version_info))
    machine.offer(snapshot(2, X2))
    out = machine.next()
    assert out is not None
    assert [one.value.decode() for one in DiscoveryResponse.FromString(out.body).resources] == ["a=1", "x=2"]


def test_what_a_client_is_given() -> None:
    on_demand = ResourceSet({CLUSTER: {"x": X1, "y": Y1}, ENDPOINTS: {"x": resource(ENDPOINTS, "x", "1")}}, True)
    machine = loaded(XdsSnapshot(1, (layer(A1, L1, R1), on_demand)))

    def names(type_url: str) -> list[str]:
        return sorted(one.name for one in machine.given().of_type(type_url))

    assert (names(CLUSTER), names(ENDPOINTS), names(LISTENER), names(ROUTES)) == (["a"], [], ["l"], ["r"])
    machine.receive(DeltaRequest(CLUSTER, ("x",)))
    machine.receive(DeltaRequest(ENDPOINTS, ("x",)))
    assert (names(CLUSTER), names(ENDPOINTS), names(LISTENER), names(ROUTES)) == (["a", "x"], ["x"], ["l"], ["r"])
    assert machine.given().revision == 1


WEB, BLUE, GREEN, MAIL = (
    resource(CLUSTER, name, "1")
    for name in ("outbound|80||web", "outbound|80|blue|web", "outbound|80|green|web", "outbound|80||mail")
)
TO_WEB, TO_GREEN = (resource(ROUTES, "r", one.name, requires=((CLUSTER, one.name),)) for one in (WEB, GREEN))


def names(came: list[tuple[str, list[str], list[str]]]) -> list[str]:
    return [name.removesuffix("=1") for _, added, _ in came for name in added]


def test_a_service_that_is_used_comes_with_all_its_subsets() -> None:
    machine = loaded(snapshot(1, WEB, BLUE, MAIL))
    machine.receive(DeltaRequest(CLUSTER, (WEB.name,)))
    assert sorted(names(settle(machine))) == [BLUE.name, WEB.name], "and no other service"
    assert machine.asked == {WEB.name}
    machine.receive(DeltaRequest(CLUSTER, (BLUE.name,)))
    assert names(settle(machine)) == [BLUE.name], "a name that is asked for is answered"


def test_routes_wait_for_a_new_subset_of_a_service_that_is_used() -> None:
    machine, other = (loaded(snapshot(1, WEB, MAIL, eager=(A1, L1, TO_WEB))) for _ in "ab")
    machine.receive(DeltaRequest(CLUSTER, (WEB.name,)))
    settle(machine)
    for each in (machine, other):
        each.offer(snapshot(2, WEB, GREEN, MAIL, eager=(A1, L1, TO_GREEN)))
    assert [kind for kind, _, _ in settle(machine)] == ["Cluster", "RouteConfiguration"]
    assert [kind for kind, _, _ in settle(other)] == ["RouteConfiguration"], "it does not use the service"
    machine.offer(snapshot(3, WEB, MAIL, eager=(A1, L1, TO_WEB)))
    assert [(kind, removed) for kind, _, removed in settle(machine)] == [
        ("RouteConfiguration", []),
        ("Cluster", [GREEN.name]),
    ]


def test_subsets_of_a_used_service_stay_over_a_reconnect() -> None:
    for asked, remembered in (((WEB.name,), frozenset[str]()), ((), frozenset({WEB.name}))):
        machine = DeltaSession(snapshot(9, WEB, BLUE, GREEN, MAIL), Shared(), Limits(), remembered)
        held = {"a": "1", WEB.name: "1", BLUE.name: "1"}
        machine.receive(DeltaRequest(CLUSTER, ("*", *asked), initial_versions=held))
        machine.receive(DeltaRequest(LISTENER, ("*",), initial_versions={"l": "1"}))
        machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "1"}))
        assert settle(machine) == [("Cluster", [f"{GREEN.name}=1"], [])]
