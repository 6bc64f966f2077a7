"""Which part of a status is weft's, and what becomes of the rest, by values."""

from __future__ import annotations

from typing import Any

from weft.schema.kinds.gateway import CONTROLLER_NAME
from weft.schema.registry import kind_of
from weft.sources.kubernetes.statuses import Shape, digest_of, joined, shape_of

GATEWAY = "gateway.networking.k8s.io"
NOW, LONG_AGO = "2026-11-28T00:00:00Z", "2020-01-01T00:00:00Z"


def condition(kind: str = "Accepted", status: str = "True", since: str = "", generation: int = 1) -> dict[str, Any]:
    said = {"type": kind, "status": status, "reason": "Because", "message": "", "observedGeneration": generation}
    return said | ({"lastTransitionTime": since} if since else {})


def entry(controller: str, name: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"parentRef": {"name": name}, "controllerName": controller, "conditions": list(conditions)}


def test_shapes() -> None:
    shapes = {
        (GATEWAY, "HTTPRoute"): Shape.PARENTS,
        (GATEWAY, "Gateway"): Shape.CONDITIONS,
        (GATEWAY, "BackendTLSPolicy"): Shape.ANCESTORS,
        (GATEWAY, "ReferenceGrant"): None,
        ("networking.istio.io", "Gateway"): Shape.CONDITIONS,
        ("specs.smi-spec.io", "TCPRoute"): None,
        ("weft.dev", "EjectionPolicy"): Shape.ANCESTORS,
        ("weft.dev", "MeshConfig"): None,
        ("", "Service"): None,
    }
    for (group, name), shape in shapes.items():
        kind = kind_of(group, name)
        assert kind is not None
        assert shape_of(kind) is shape, name


def test_a_time_makes_no_difference_and_neither_does_what_others_wrote() -> None:
    ours = {"conditions": [condition("Accepted", since=NOW), condition("Programmed")]}
    others = {"conditions": [condition("Programmed", since=LONG_AGO), condition("Theirs"), condition("Accepted")]}
    assert digest_of(Shape.CONDITIONS, ours) == digest_of(Shape.CONDITIONS, others)
    changed = {"conditions": [condition("Accepted", generation=2), condition("Programmed")]}
    assert digest_of(Shape.CONDITIONS, ours) != digest_of(Shape.CONDITIONS, changed)


def test_nothing_is_what_others_alone_wrote() -> None:
    others = {"parents": [entry("example.com/other", "web", condition())]}
    assert digest_of(Shape.PARENTS, others) == digest_of(Shape.PARENTS, {})
    assert digest_of(Shape.PARENTS, {"parents": [entry(CONTROLLER_NAME, "web")]}) != digest_of(Shape.PARENTS, {})


def test_entries_of_others_stay_and_only_what_changed_has_a_new_time() -> None:
    theirs = entry("example.com/other", "web", condition(since=LONG_AGO))
    ours = entry(CONTROLLER_NAME, "web", condition(since=LONG_AGO), condition("ResolvedRefs", since=LONG_AGO))
    gone = entry(CONTROLLER_NAME, "former", condition(since=LONG_AGO))
    wanted = {
        "parents": [
            entry(CONTROLLER_NAME, "web", condition(generation=2), condition("ResolvedRefs", "False")),
            entry(CONTROLLER_NAME, "new", condition()),
        ]
    }
    assert joined(Shape.PARENTS, {"parents": [theirs, gone, ours]}, wanted, NOW) == {
        "parents": [
            theirs,
            entry(
                CONTROLLER_NAME,
                "web",
                condition(since=LONG_AGO, generation=2),
                condition("ResolvedRefs", "False", since=NOW),
            ),
            entry(CONTROLLER_NAME, "new", condition(since=NOW)),
        ]
    }
    assert joined(Shape.PARENTS, {"parents": [theirs, ours]}, {"parents": []}, NOW) == {"parents": [theirs]}


def test_a_list_has_room_for_so_many() -> None:
    theirs = [entry("example.com/other", str(number), condition(since=NOW)) for number in range(30)]
    wanted = {"parents": [entry(CONTROLLER_NAME, str(number), condition()) for number in range(5)]}
    found = joined(Shape.PARENTS, {"parents": theirs}, wanted, NOW)["parents"]
    assert [each["parentRef"]["name"] for each in found] == [*map(str, range(30)), "0", "1"]


def test_conditions_of_listeners_have_times_of_their_own() -> None:
    def listener(name: str, status: str, since: str = "") -> dict[str, Any]:
        return {"name": name, "attachedRoutes": 1, "conditions": [condition("Programmed", status, since)]}

    now = {"listeners": [listener("https", "True", LONG_AGO), listener("http", "True", LONG_AGO)]}
    wanted = {"conditions": [condition()], "listeners": [listener("http", "False"), listener("https", "True")]}
    assert joined(Shape.CONDITIONS, now, wanted, NOW) == {
        "conditions": [condition(since=NOW)],
        "listeners": [listener("http", "False", NOW), listener("https", "True", LONG_AGO)],
    }
    assert digest_of(Shape.CONDITIONS, wanted) != digest_of(Shape.CONDITIONS, now)


def test_a_status_may_say_whatever_somebody_wrote() -> None:
    for status in (
        {"parents": 3},
        {"parents": ["x", None]},
        {"conditions": {"a": 1}},
        {"parents": [{"conditions": 1}]},
    ):
        for shape in Shape:
            digest_of(shape, status)
            joined(shape, status, {}, NOW)
