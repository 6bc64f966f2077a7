"""The order of hops, from what both sides noted."""

from __future__ import annotations

from typing import Any

from support.meshdocs import Compiled, service
from weft.explain.facts import Facts
from weft.explain.journal import Noted
from weft.explain.ladder import explain_requests, noted_causes
from weft.explain.order import ladder_of
from weft.model.requests import RequestSeen


def noted(workload: str, side: str, time: float, ms: float, peer: str = "", **more: Any) -> Noted:
    fields: dict[str, Any] = {"id": "x", "method": "GET", "host": "h", "path": "/", "status": 200, **more}
    return Noted(f"default/{workload}", RequestSeen(time, side, duration_ms=ms, peer=peer, **fields))


PAGE = (
    noted("front", "gateway", 10.000, 2010, "page.default"),
    noted("page", "inbound", 10.000, 2009, "front.default"),
    noted("page", "outbound", 10.002, 30, "details.default"),
    noted("details", "inbound", 10.003, 28, "page.default"),
    noted("page", "outbound", 10.040, 1960, "reviews.default"),
    noted("reviews", "inbound", 10.040, 1959, "page.default"),
    noted(
        "reviews", "outbound", 10.041, 1955, "ratings.default", flags="DI", object="VirtualService a/b", source="f:1"
    ),
)


def test_each_caller_stands_before_its_callee_whatever_the_order_of_arrival_and_clocks() -> None:
    found = ladder_of(PAGE[::-1])
    assert [(one.workload, one.seen.side) for one in found.steps] == [(one.workload, one.seen.side) for one in PAGE]
    assert found.below[0] == (1,)
    assert found.below[1] == (2, 4)
    skewed = [noted("b", "inbound", 9.2, 50, "a.default"), noted("a", "outbound", 10.0, 60, "b.default")]
    assert [one.workload for one in ladder_of(skewed).steps] == ["default/a", "default/b"]


def test_tries_and_strangers_have_their_places_too() -> None:
    tries = [noted("a", "outbound", 1.0, 300, "b.default", attempts=3)]
    tries += [noted("b", "inbound", 1.0 + each / 10, 50, "a.default", status=503) for each in range(3)]
    found = ladder_of(tries)
    assert [one.seen.time for one in found.steps] == [1.0, 1.0, 1.1, 1.2]
    assert found.below[0] == (1, 2, 3)
    alone = [noted("b", "inbound", 1.0, 5), noted("c", "outbound", 2.0, 5)]
    assert len(ladder_of(alone).steps) == 2
    assert ladder_of(()).steps == ()


def test_what_is_furthest_down_is_the_cause_and_what_waited_for_it_is_a_note() -> None:
    facts = Facts(Compiled(service("h")).mesh, 20.0)
    found = explain_requests(facts, PAGE, str)
    assert found.answer.text == (
        "GET h/ took 2010 ms: a rule delayed the request on purpose (fault injection) (as reviews.default saw it)"
    )
    assert [(cause.code, cause.source) for cause in found.causes if cause.severity != "note"] == [
        ("fault-in-force", "f:1")
    ]
    slow = {cause.source: cause.severity for cause in found.causes if cause.code == "slow-application"}
    assert slow["proxy reviews.default"] == slow["proxy page.default"] == "note"
    assert found.hops[1].match == "GET h/ from front.default"


def test_a_request_that_met_no_rule_has_the_command_that_names_the_nearest() -> None:
    facts = Facts(Compiled(service("h")).mesh, 20.0)
    lost = noted("front", "gateway", 1.0, 0, flags="NR", status=404, host="shop.example.com", path="/a b'")
    (cause,) = explain_requests(facts, [lost], str).causes
    assert cause.fix == """weft explain --from default/front GET 'http://shop.example.com/a b'"'"''"""


def test_no_application_is_named_that_only_waited_or_passed_an_error_on() -> None:
    facts = Facts(Compiled(service("h")).mesh, 20.0)
    assert [(one.proxy, cause.code) for one, cause, _ in noted_causes(facts, PAGE[::-1])] == [
        ("reviews.default", "fault-in-force")
    ]
    slow = (*PAGE[:-1], noted("reviews", "outbound", 10.041, 1, "ratings.default"))
    assert [(one.proxy, cause.code) for one, cause, _ in noted_causes(facts, slow)] == [
        ("reviews.default", "slow-application")
    ]
    passed_on = (
        noted("page", "inbound", 1.0, 9, status=500),
        noted("page", "outbound", 1.001, 7, "reviews.default", status=500),
        noted("reviews", "inbound", 1.002, 5, "page.default", status=500),
    )
    assert [(one.proxy, cause.code, count) for one, cause, count in noted_causes(facts, passed_on)] == [
        ("reviews.default", "application-error", 1)
    ]
