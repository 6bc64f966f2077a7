"""Reach: whether a caller may call at all, and for what, in words."""

from __future__ import annotations

from support.access import FROM_SHOP, GET, OTHER, SHOP, access, exact, policy, rule
from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.policy import AccessRule, Action, Attribute, Closed, Condition, Pattern, PatternKind
from weft.mesh.access.reach import Reach, Reaches, any_call, reach_of
from weft.mesh.access.words import rule_text
from weft.model.origin import Origin

CALLS = any_call(SHOP, 8080, http=True)


def test_without_policies_nothing_constrains() -> None:
    assert reach_of(OPEN, CALLS) == Reach(Reaches.UNCONSTRAINED)


def test_yes_no_and_some() -> None:
    allow = access(policy("a", Action.ALLOW, FROM_SHOP))
    assert reach_of(allow, CALLS).reaches is Reaches.YES
    assert reach_of(allow, any_call(OTHER, 8080, http=True)).reaches is Reaches.NO
    paths = Condition(Attribute.PATH, (Pattern(PatternKind.PREFIX, "/api/"), Pattern(PatternKind.EXACT, "/")))
    narrow = AccessRule(0, Origin("a", 1), FROM_SHOP.sources, ((*GET.operations[0], paths),))
    found = reach_of(access(policy("a", Action.ALLOW, narrow)), CALLS)
    assert (found.reaches, found.only, found.but) == (Reaches.SOME, ("to method GET and path /api/*, /",), ())


def test_a_deny_that_may_match_takes_away_and_one_that_must_closes() -> None:
    asked = access(policy("d", Action.DENY, GET))
    found = reach_of(asked, CALLS)
    assert (found.reaches, found.but) == (Reaches.SOME, ("to method GET",))
    assert reach_of(access(policy("d", Action.DENY, FROM_SHOP)), CALLS).reaches is Reaches.NO
    closed = Closed(Origin("x", 1), "broken")
    assert reach_of(Access((), (closed,)), CALLS).policies == (closed,)


def test_connections_know_nothing_of_requests() -> None:
    connection = any_call(SHOP, 5432, http=False)
    assert reach_of(access(policy("a", Action.ALLOW, GET)), connection).reaches is Reaches.NO
    assert reach_of(access(policy("d", Action.DENY, GET)), connection).reaches is Reaches.NO
    assert reach_of(access(policy("a", Action.ALLOW, FROM_SHOP)), connection).reaches is Reaches.YES


def test_providers_are_asked() -> None:
    found = reach_of(access(policy("c", Action.CUSTOM, rule(), provider="opa")), CALLS)
    assert (found.reaches, found.asks) == (Reaches.SOME, ("opa",))


def test_rules_in_words() -> None:
    when = exact(Attribute.CLAIM, "admin", key=("realm", "roles"))
    one = rule(
        sources=((exact(Attribute.NAMESPACE, "a", "b"),), (exact(Attribute.PRINCIPAL, "c", negated=True),)),
        when=(when,),
    )
    assert rule_text(one) == "from namespace a, b or not identity c; when claim realm.roles = admin"
    assert rule_text(rule()) == "every call"
