"""Which Events are written about what is wrong, by values."""

from __future__ import annotations

import json
from dataclasses import replace

from weft.admin.kubernetes.events import event_body, event_name, refusals_of
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.schema.registry import kind_of
from weft.sources.kubernetes.discovery import Served
from weft.sources.kubernetes.documents import Reading
from weft.sources.kubernetes.source import ServedObject

KEY = ObjectKey("gateway.networking.k8s.io", "HTTPRoute", "shop", "web")
SOURCE = Origin("kubernetes:HTTPRoute/shop/web/uid@7")
PROBLEM = Problem(Severity.ERROR, "unknown-field", "no field 'x'", SOURCE, KEY, ("spec", "x"), "rules", "rule")


def found(uid: str = "uid", generation: int = 3) -> ServedObject:
    kind = kind_of(KEY.group, KEY.kind)
    assert kind is not None
    served = Served("/apis/gateway.networking.k8s.io/v1/httproutes", kind, has_status=True)
    return ServedObject(served, uid, Reading(KEY, generation=generation))


def test_errors_of_documents_of_the_cluster_and_nothing_else() -> None:
    others = (
        replace(PROBLEM, severity=Severity.WARNING),
        replace(PROBLEM, object=None),
        replace(PROBLEM, origin=Origin("files/web.yaml", 3)),
        replace(PROBLEM, object=replace(KEY, name="gone")),
    )
    there = {KEY: found()}
    told = list(refusals_of((PROBLEM, *others, replace(PROBLEM, message="also")), there.get))
    assert [each.problem for each in told] == [PROBLEM], "and one for each code"


def test_a_name_is_that_of_object_generation_and_code() -> None:
    name = event_name(found(), "unknown-field")
    assert name.startswith("web.")
    assert name == event_name(found(), "unknown-field")
    others = {event_name(found(), "bad-value"), event_name(found("other"), "unknown-field")}
    others.add(event_name(found(generation=4), "unknown-field"))
    assert len(others - {name}) == 3


def test_what_an_event_says() -> None:
    [told] = refusals_of([PROBLEM], {KEY: found()}.get)
    assert json.loads(event_body(told, "host_1", 0.0)) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": told.name, "namespace": "shop"},
        "eventTime": "1970-01-01T00:00:00.000000Z",
        "reportingController": "weft.dev/control-plane",
        "reportingInstance": "host_1",
        "action": "Compile",
        "reason": "UnknownField",
        "regarding": {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "name": "web",
            "namespace": "shop",
            "uid": "uid",
        },
        "note": "spec.x: no field 'x'; expected rules; did you mean 'rule'?",
        "type": "Warning",
    }


def test_a_note_has_room_for_so_much() -> None:
    [told] = refusals_of([replace(PROBLEM, message="ä" * 2000)], {KEY: found()}.get)
    note = json.loads(event_body(told, "h", 0.0))["note"]
    assert len(note.encode()) <= 1024
    assert note.endswith("ä…")
