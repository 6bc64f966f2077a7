"""Scripts of requests and responses against the delta state machine."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from support.discovery import layer, resource, snapshot
from weft.discovery import shared as shared_module
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.session import RefusedRequestError
from weft.discovery.shared import Shared
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, XdsSnapshot

A1, A2 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2")
B1 = resource(CLUSTER, "b", "1")
EA1, EA2 = resource(ENDPOINTS, "a", "1"), resource(ENDPOINTS, "a", "2")
L1, L2 = (resource(LISTENER, "l", version, requires=((ROUTES, "r"),)) for version in ("1", "2"))
R1 = resource(ROUTES, "r", "1", requires=((CLUSTER, "a"),))
R2 = resource(ROUTES, "r", "2", requires=((CLUSTER, "b"),))


def session(first: XdsSnapshot, limits: Limits | None = None) -> DeltaSession:
    return DeltaSession(first, Shared(), limits or Limits())


def sent(machine: DeltaSession) -> DeltaDiscoveryResponse | None:
    out = machine.next()
    return None if out is None else DeltaDiscoveryResponse.FromString(out.body)


def names(response: DeltaDiscoveryResponse | None) -> tuple[str, list[str], list[str]]:
    """Short type, added as name=version, removed."""
    assert response is not None, "nothing was sent"
    added = [f"{one.name}={one.version}" for one in response.resources]
    return response.type_url.rpartition(".")[2], added, list(response.removed_resources)


def answer(machine: DeltaSession, response: DeltaDiscoveryResponse | None, error: str | None = None) -> None:
    assert response is not None
    machine.receive(DeltaRequest(response.type_url, nonce=response.nonce, error=error))


def loaded(first: XdsSnapshot) -> DeltaSession:
    """A client that subscribed to everything and has acknowledged it."""
    machine = session(first)
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    for type_url in (ENDPOINTS, ROUTES):
        machine.receive(DeltaRequest(type_url, tuple(one.name for one in first.of_type(type_url))))
    while (response := sent(machine)) is not None:
        answer(machine, response)
    assert machine.acked_revision == first.revision
    return machine


def test_first_load_waits_for_clusters_before_listeners() -> None:
    machine = session(snapshot(1, A1, EA1, L1, R1))
    machine.receive(DeltaRequest(LISTENER))
    machine.receive(DeltaRequest(CLUSTER))
    clusters = sent(machine)
    assert names(clusters) == ("Cluster", ["a=1"], [])
    assert sent(machine) is None
    machine.receive(DeltaRequest(ENDPOINTS, ("a",)))
    endpoints = sent(machine)
    assert names(endpoints) == ("ClusterLoadAssignment", ["a=1"], [])
    answer(machine, endpoints)
    assert sent(machine) is None, "listeners must wait for the ACK of clusters"
    assert machine.acked_revision == 0
    answer(machine, clusters)
    assert names(sent(machine)) == ("Listener", ["l=1"], [])


def test_first_listeners_come_together() -> None:
    """An Envoy serves from its first listeners on; one that takes over from another would leave the rest closed."""
    alone = resource(LISTENER, "alone", "1", requires=())
    machine = session(snapshot(1, A1, EA1, L1, R1, alone))
    machine.receive(DeltaRequest(CLUSTER))
    clusters = sent(machine)
    machine.receive(DeltaRequest(LISTENER))
    machine.receive(DeltaRequest(ENDPOINTS, ("a",)))
    answer(machine, sent(machine))
    assert sent(machine) is None, "a listener that need not wait waits for the other one"
    answer(machine, clusters)
    listeners = sent(machine)
    assert listeners is not None
    assert {one.name for one in listeners.resources} == {"l", "alone"}
    answer(machine, listeners)
    machine.offer(snapshot(2, A1, EA1, B1, L2, R1, resource(LISTENER, "alone", "2")))
    assert names(sent(machine)) == ("Cluster", ["b=1"], [])
    later = sent(machine)
    assert later is not None
    assert {one.name for one in later.resources} == {"l", "alone"}, "later ones as they are ready"


def test_first_listeners_do_not_wait_for_what_is_refused() -> None:
    alone = resource(LISTENER, "alone", "1", requires=())
    machine = session(snapshot(1, A1, L1, R1, alone))
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    answer(machine, sent(machine), "no such cluster: a")
    assert names(sent(machine)) == ("Listener", ["alone=1"], [])


def test_empty_snapshot_is_answered_once_so_that_the_client_does_not_wait() -> None:
    machine = session(snapshot(1))
    machine.receive(DeltaRequest(CLUSTER))
    response = sent(machine)
    assert names(response) == ("Cluster", [], [])
    answer(machine, response)
    assert sent(machine) is None


def test_reconnect_with_known_versions_is_sent_nothing() -> None:
    machine = session(snapshot(9, A1, B1, EA1, L1, R1))
    machine.receive(DeltaRequest(CLUSTER, ("*",), initial_versions={"a": "1", "b": "1"}))
    machine.receive(DeltaRequest(LISTENER, ("*",), initial_versions={"l": "1"}))
    machine.receive(DeltaRequest(ENDPOINTS, ("a",), initial_versions={"a": "1"}))
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "1"}))
    assert sent(machine) is None
    assert machine.acked_revision == 9


def test_reconnect_is_sent_what_changed_and_last_of_all_what_went() -> None:
    machine = session(snapshot(9, A2, L1, R1))
    machine.receive(DeltaRequest(CLUSTER, initial_versions={"a": "1", "gone": "1"}))
    machine.receive(DeltaRequest(LISTENER, initial_versions={"l": "0"}))
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "1"}))
    clusters = sent(machine)
    assert names(clusters) == ("Cluster", ["a=2"], []), "the old listener may refer to what is gone"
    answer(machine, clusters)
    listeners = sent(machine)
    assert names(listeners) == ("Listener", ["l=1"], [])
    assert sent(machine) is None
    answer(machine, listeners)
    assert names(sent(machine)) == ("Cluster", [], ["gone"])


def test_nothing_is_removed_before_a_client_that_comes_back_has_said_what_it_holds() -> None:
    machine = session(snapshot(9, A1, L1, R1))
    machine.receive(DeltaRequest(CLUSTER, initial_versions={"a": "1", "gone": "1"}))
    assert sent(machine) is None
    machine.receive(DeltaRequest(LISTENER, initial_versions={"l": "1"}))
    assert sent(machine) is None
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "0"}))
    routes = sent(machine)
    assert names(routes) == ("RouteConfiguration", ["r=1"], [])
    assert sent(machine) is None, "the routes it holds may lead to what is gone"
    answer(machine, routes)
    assert names(sent(machine)) == ("Cluster", [], ["gone"])


def test_make_before_break() -> None:
    machine = loaded(snapshot(1, A1, EA1, L1, R1))
    machine.offer(snapshot(2, B1, L1, R2))
    clusters = sent(machine)
    assert names(clusters) == ("Cluster", ["b=1"], [])
    assert sent(machine) is None
    answer(machine, clusters)
    routes = sent(machine)
    assert names(routes) == ("RouteConfiguration", ["r=2"], [])
    assert sent(machine) is None, "the old cluster must live until the new routes are confirmed"
    answer(machine, routes)
    removal = sent(machine)
    assert names(removal) == ("Cluster", [], ["a"])
    assert machine.acked_revision == 1
    assert sent(machine) is None
    answer(machine, removal)
    assert names(sent(machine)) == ("ClusterLoadAssignment", [], ["a"])


def test_removing_many_looks_at_what_may_refer_to_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each: a namespace of thousands of services that goes must not stop the control plane."""
    many = 200
    services = [resource(kind, f"s{number}", "1") for number in range(many) for kind in (CLUSTER, ENDPOINTS)]
    routes = resource(ROUTES, "r", "0", requires=tuple((CLUSTER, f"s{number}") for number in range(many)))
    machine = loaded(snapshot(1, A1, L1, routes, *services))
    looked: list[str] = []
    required = Shared.required

    def counting(self: Shared, one: Resource, type_url: str) -> frozenset[str]:
        looked.append(one.name)
        return required(self, one, type_url)

    monkeypatch.setattr(Shared, "required", counting)
    machine.offer(snapshot(2, A1, L1, R1))
    removed: list[str] = []
    while (response := sent(machine)) is not None:
        removed += response.removed_resources
        answer(machine, response)
    assert len(removed) == 2 * many
    assert len(looked) < 10 * many


def test_what_a_client_makes_it_remember_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "_NAMES", 100)
    shared = Shared()
    machine = DeltaSession(snapshot(1, *(resource(ENDPOINTS, f"s{n}", "1") for n in range(60))), shared, Limits())
    for start in range(40):
        asked = tuple(f"s{number}" for number in range(start, start + 20))
        machine.receive(DeltaRequest(ENDPOINTS, (*asked, *(f"made-up-{start}-{number}" for number in range(50)))))
    kept = [
        part
        for parts, _ in shared._known.values()
        if isinstance(parts, tuple)
        for part in parts
        if isinstance(part, frozenset)
    ]
    assert kept
    assert sum(map(len, kept)) <= 100
    assert not [name for names in kept for name in names if name.startswith("made-up")]


def test_unsubscribed_endpoints_of_a_removed_cluster_are_not_mentioned() -> None:
    machine = loaded(snapshot(1, A1, EA1))
    machine.offer(snapshot(2))
    removal = sent(machine)
    assert names(removal) == ("Cluster", [], ["a"])
    machine.receive(DeltaRequest(ENDPOINTS, unsubscribe=("a",)))
    answer(machine, removal)
    assert sent(machine) is None
    assert machine.acked_revision == 2


def test_endpoints_follow_a_changed_cluster_without_waiting_for_its_ack() -> None:
    machine = loaded(snapshot(1, A1, EA1))
    machine.offer(snapshot(2, A2, EA1))
    clusters, endpoints = sent(machine), sent(machine)
    assert names(clusters) == ("Cluster", ["a=2"], [])
    assert names(endpoints) == ("ClusterLoadAssignment", ["a=1"], [])
    answer(machine, endpoints)
    answer(machine, clusters)
    assert sent(machine) is None
    assert machine.acked_revision == 2


def test_endpoints_on_the_way_before_the_cluster_are_sent_once_more() -> None:
    machine = loaded(snapshot(1, A1, EA1))
    machine.offer(snapshot(2, A1, EA2))
    early = sent(machine)
    machine.offer(snapshot(3, A2, EA2))
    assert names(sent(machine)) == ("Cluster", ["a=2"], [])
    answer(machine, early)
    assert names(sent(machine)) == ("ClusterLoadAssignment", ["a=2"], [])


def test_changes_while_a_response_is_on_the_way_are_merged() -> None:
    machine = loaded(snapshot(1, A1))
    machine.offer(snapshot(2, A2))
    first = sent(machine)
    for revision, version in ((3, "3"), (4, "4"), (5, "5")):
        machine.offer(snapshot(revision, resource(CLUSTER, "a", version)))
        assert sent(machine) is None
    answer(machine, first)
    assert machine.acked_revision == 2
    assert names(sent(machine)) == ("Cluster", ["a=5"], [])


def test_change_and_back_before_it_was_sent_is_no_change() -> None:
    machine = loaded(snapshot(1, A1))
    machine.offer(snapshot(2, A2))
    machine.offer(snapshot(3, A1))
    assert sent(machine) is None
    assert machine.acked_revision == 3


def test_change_and_back_while_it_is_on_the_way_is_taken_back() -> None:
    machine = loaded(snapshot(1, A1))
    machine.offer(snapshot(2, A2))
    first = sent(machine)
    machine.offer(snapshot(3, A1))
    answer(machine, first)
    assert names(sent(machine)) == ("Cluster", ["a=1"], [])


def test_stale_and_foreign_nonces_are_ignored() -> None:
    machine = loaded(snapshot(1, A1))
    machine.offer(snapshot(2, A2))
    assert sent(machine) is not None
    for nonce in ("1", "ffff", ""):
        machine.receive(DeltaRequest(CLUSTER, nonce=nonce))
        machine.receive(DeltaRequest(CLUSTER, nonce=nonce, error="no"))
    assert machine.acked_revision == 1
    assert list(machine.rejections()) == []


def test_refused_resource_is_held_until_it_changes() -> None:
    machine = loaded(snapshot(1, A1))
    machine.offer(snapshot(2, A2))
    response = sent(machine)
    assert response is not None
    words = "Error adding/updating cluster(s) a: no"
    refused = machine.receive(DeltaRequest(CLUSTER, nonce=response.nonce, error=words))
    assert [(one.name, one.version, one.message, one.first, one.last) for one in refused] == [("a", "2", words, 2, 2)]
    assert str(refused[0].origins[0]) == "a.yaml:7"
    assert sent(machine) is None
    assert machine.acked_revision == 2, "it is settled: refused"
    machine.offer(snapshot(3, A2, B1))
    other = sent(machine)
    assert names(other) == ("Cluster", ["b=1"], [])
    answer(machine, other)
    machine.offer(snapshot(4, A1, B1))
    assert sent(machine) is None, "the client still holds that"
    assert list(machine.rejections()) == []
    machine.offer(snapshot(5, resource(CLUSTER, "a", "3"), B1))
    assert names(sent(machine)) == ("Cluster", ["a=3"], [])


def test_refusal_that_names_one_of_three_holds_only_that() -> None:
    machine = session(snapshot(1, A1, B1, resource(CLUSTER, "c", "1")))
    machine.receive(DeltaRequest(CLUSTER))
    answer(machine, sent(machine), "Error adding/updating cluster(s) b: bad: a: worse")
    again = sent(machine)
    assert names(again) == ("Cluster", ["a=1", "c=1"], [])
    answer(machine, again)
    assert sent(machine) is None
    assert [one.name for one in machine.rejections()] == ["b"]


def test_refusal_that_names_none_is_narrowed_down() -> None:
    resources = [resource(CLUSTER, f"c{number}", "1") for number in range(8)]
    machine = session(snapshot(1, *resources))
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    rounds = 0
    while (response := sent(machine)) is not None:
        bad = any(one.name in {"c2", "c7"} for one in response.resources)
        answer(machine, response, "Proto constraint validation failed" if bad else None)
        rounds += 1
    assert {one.name for one in machine.rejections()} == {"c2", "c7"}
    assert machine.acked_revision == 1
    assert rounds < 16


def test_what_needs_a_refused_resource_is_held_back_too_and_old_clusters_stay() -> None:
    needs = resource(ROUTES, "r", "2", requires=((CLUSTER, "b"),))
    machine = loaded(snapshot(1, A1, L1, R1))
    machine.offer(snapshot(2, B1, L1, needs))
    answer(machine, sent(machine), "Error adding/updating cluster(s) b: no")
    removal = sent(machine)
    assert removal is None, "the old routes, still in force, need the old cluster"
    assert machine.acked_revision == 2


def test_old_clusters_stay_when_routes_are_refused() -> None:
    machine = loaded(snapshot(1, A1, L1, R1))
    machine.offer(snapshot(2, L1, R2))
    answer(machine, sent(machine), "no")
    assert sent(machine) is None
    assert machine.acked_revision == 2
    machine.offer(snapshot(3, L1, resource(ROUTES, "r", "3")))
    answer(machine, sent(machine))
    assert names(sent(machine)) == ("Cluster", [], ["a"])


@pytest.mark.parametrize("earlier", [(), (R1,)], ids=["never held", "held"])
def test_what_a_client_may_have_taken_of_a_refused_response_holds_clusters(earlier: tuple[Resource, ...]) -> None:
    """It refuses another resource of the response; the routes to b are in force, or not: nobody knows."""
    machine = session(snapshot(1, A1, B1, L1, *earlier))
    for kind, wanted in ((CLUSTER, ()), (LISTENER, ()), (ROUTES, ("r", "bad"))):
        machine.receive(DeltaRequest(kind, wanted))
    while (response := sent(machine)) is not None:
        answer(machine, response)
    machine.offer(snapshot(2, A1, B1, L1, R2, resource(ROUTES, "bad", "1")))
    answer(machine, sent(machine), "errors: bad: no")
    machine.offer(snapshot(3, A1, L1, resource(ROUTES, "r", "3", requires=((CLUSTER, "a"),))))
    routes = sent(machine)
    assert names(routes)[:2] == ("RouteConfiguration", ["r=3"])
    assert sent(machine) is None
    answer(machine, routes)
    assert names(sent(machine)) == ("Cluster", [], ["b"])


def test_unknown_name_is_answered_as_absent_and_remembered() -> None:
    machine = session(snapshot(1, A1))
    machine.receive(DeltaRequest(ENDPOINTS, ("secret-of-another",)))
    response = sent(machine)
    assert names(response) == ("ClusterLoadAssignment", [], ["secret-of-another"])
    answer(machine, response)
    assert sent(machine) is None
    assert list(machine.unmet()) == [(ENDPOINTS, "secret-of-another")]
    machine.offer(snapshot(2, A1, resource(ENDPOINTS, "secret-of-another", "1")))
    assert names(sent(machine)) == ("ClusterLoadAssignment", ["secret-of-another=1"], [])
    assert list(machine.unmet()) == []


def test_who_asks_for_endpoints_before_clusters_is_sent_them_whatever_it_holds() -> None:
    """Envoy does not ask for clusters while one of its own waits for endpoints, and may wait since another stream."""
    first, later = session(snapshot(9, A1, EA1)), session(snapshot(9, A1, EA1))
    for machine, kinds in ((first, (ENDPOINTS, CLUSTER)), (later, (CLUSTER, ENDPOINTS))):
        for kind in kinds:
            machine.receive(DeltaRequest(kind, ("a",), initial_versions={"a": "1"}))
    assert names(sent(first)) == ("ClusterLoadAssignment", ["a=1"], [])
    assert sent(later) is None


def test_unknown_type_has_nothing() -> None:
    machine = session(snapshot(1, A1))
    machine.receive(DeltaRequest("type.googleapis.com/envoy.service.runtime.v3.Runtime", ("x",)))
    assert names(sent(machine)) == ("Runtime", [], ["x"])


def test_unsubscribe_and_subscribe_again_sends_again() -> None:
    machine = loaded(snapshot(1, EA1))
    machine.receive(DeltaRequest(ENDPOINTS, unsubscribe=("a",)))
    machine.offer(snapshot(2, EA2))
    assert sent(machine) is None
    machine.receive(DeltaRequest(ENDPOINTS, ("a",)))
    assert names(sent(machine)) == ("ClusterLoadAssignment", ["a=2"], [])


def test_wildcard_can_be_given_up_for_names() -> None:
    machine = loaded(snapshot(1, A1, B1))
    machine.receive(DeltaRequest(CLUSTER, ("b",), ("*",)))
    response = sent(machine)
    assert names(response) == ("Cluster", ["b=1"], [])
    answer(machine, response)
    machine.offer(snapshot(2, A2, B1))
    assert sent(machine) is None


def test_a_name_under_a_wildcard_is_sent_again_when_it_alone_is_dropped() -> None:
    machine = session(snapshot(1, A1))
    machine.receive(DeltaRequest(CLUSTER, ("*", "a")))
    answer(machine, sent(machine))
    machine.receive(DeltaRequest(CLUSTER, unsubscribe=("a",)))
    assert names(sent(machine)) == ("Cluster", ["a=1"], [])


def test_large_load_is_cut_into_responses() -> None:
    resources = [resource(CLUSTER, f"c{number}", "1", body=b"x" * 1000) for number in range(10)]
    machine = session(snapshot(1, *resources, L1), Limits(response_bytes=4000))
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    seen: list[str] = []
    kinds: list[str] = []
    while (response := sent(machine)) is not None:
        kinds.append(names(response)[0])
        seen += names(response)[1]
        assert len(response.SerializeToString()) < 4500
        answer(machine, response)
    assert kinds == ["Cluster"] * 4 + ["Listener"]
    assert sorted(seen) == sorted([*(f"c{number}=1" for number in range(10)), "l=1"])


def test_layers_that_stay_are_not_looked_at() -> None:
    common, own = layer(A1, B1), layer(L1)
    shared = Shared()
    before, after = XdsSnapshot(1, (common, own)), XdsSnapshot(2, (common, layer(L2)))
    assert shared.changes(before, after) == {LISTENER: (frozenset({"l"}), frozenset())}
    assert shared.changes(before, after) is shared.changes(before, after)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (DeltaRequest(CLUSTER, tuple(f"n{number}" for number in range(11))), "too-many-names"),
        (DeltaRequest(CLUSTER, initial_versions={f"n{number}": "1" for number in range(11)}), "too-many-names"),
        (DeltaRequest(CLUSTER, ("n" * 101,)), "name-too-long"),
        (DeltaRequest("x" * 101), "name-too-long"),
        (DeltaRequest(""), "no-type"),
    ],
)
def test_limits(request_: DeltaRequest, code: str) -> None:
    machine = session(snapshot(1), Limits(names=10, name_bytes=100))
    with pytest.raises(RefusedRequestError) as refused:
        machine.receive(request_)
    assert refused.value.code == code


def test_limit_of_types_and_of_names_over_several_requests() -> None:
    machine = session(snapshot(1), Limits(types=1, names=10, name_bytes=100))
    machine.receive(DeltaRequest(CLUSTER, tuple(f"n{number}" for number in range(9))))
    with pytest.raises(RefusedRequestError):
        machine.receive(DeltaRequest(CLUSTER, ("x", "y")))
    with pytest.raises(RefusedRequestError) as refused:
        machine.receive(DeltaRequest(LISTENER))
    assert refused.value.code == "too-many-types"


def test_what_a_client_says_is_kept_printable() -> None:
    """Also who is blamed is found in what it really said: Envoy has a line for each listener."""
    machine = session(snapshot(1, A1, resource(LISTENER, "l", "1"), resource(LISTENER, "m", "1")))
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER))
    answer(machine, sent(machine))
    words = "Error adding/updating listener(s) x: \x1b[2J\u202eno\nm: bad\r\x07\n"
    answer(machine, sent(machine), words + "y" * 5000)
    (rejection,) = machine.rejections()
    assert rejection.name == "m"
    assert rejection.message.isprintable()
    assert rejection.message.startswith("Error adding/updating listener(s) x: \\x1b[2J\\u202eno m: bad \\x07 yyy")
    assert len(rejection.message) <= 2100
