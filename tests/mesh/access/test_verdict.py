"""The verdict on a call: order of actions, what is absent, what is not known, and every kind of pattern."""

from __future__ import annotations

import pytest

from support.access import FROM_SHOP, GET, OTHER, PLACE, SHOP, access, exact, policy, rule
from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.call import Call, HttpCall
from weft.mesh.access.matching import condition_holds, template_fits
from weft.mesh.access.policy import (
    Action,
    Attribute,
    Closed,
    Condition,
    Pattern,
    PatternKind,
)
from weft.mesh.access.verdict import verdict_on

REQUEST = Call(SHOP, 8080, HttpCall())


def test_without_policies_everybody_may_call() -> None:
    found = verdict_on(OPEN, Call())
    assert found.allowed and found.policy is None


def test_an_allow_policy_allows_what_its_rules_match_and_nothing_else() -> None:
    asked = access(policy("a", Action.ALLOW, FROM_SHOP))
    allowed, denied = verdict_on(asked, REQUEST), verdict_on(asked, Call(OTHER, 8080, HttpCall()))
    assert (allowed.allowed, allowed.policy, allowed.rule) == (True, asked.policies[0], FROM_SHOP)
    assert (denied.allowed, denied.policy, denied.rule) == (False, asked.policies[0], None)


def test_an_allow_policy_without_rules_allows_nobody_and_an_empty_rule_everybody() -> None:
    assert not verdict_on(access(policy("none", Action.ALLOW)), REQUEST).allowed
    assert verdict_on(access(policy("all", Action.ALLOW, rule())), REQUEST).allowed


def test_deny_goes_before_allow_and_closed_before_all() -> None:
    everybody, deny = policy("all", Action.ALLOW, rule()), policy("no", Action.DENY, GET)
    found = verdict_on(access(everybody, deny), REQUEST)
    assert (found.allowed, found.policy, found.rule) == (False, deny, GET)
    closed = Closed(PLACE, "it cannot be understood")
    found = verdict_on(Access((everybody,), (closed,)), REQUEST)
    assert (found.allowed, found.policy) == (False, closed)


def test_dry_runs_and_audits_decide_nothing_and_are_told() -> None:
    deny = policy("try", Action.DENY, GET, dry_run=True)
    allow = policy("strict", Action.ALLOW, dry_run=True)
    audit = policy("note", Action.AUDIT, GET)
    found = verdict_on(access(deny, allow, audit), REQUEST)
    assert found.allowed and found.policy is None and found.audited == (audit,)
    assert [(one.action, one.denied, one.policy) for one in found.dry_run] == [
        (Action.DENY, True, deny),
        (Action.ALLOW, True, None),
    ]


def test_custom_policies_that_match_are_asked() -> None:
    asked, other = (
        policy("ask", Action.CUSTOM, GET, provider="opa"),
        policy("not", Action.CUSTOM, rule(operations=((exact(Attribute.METHOD, "PUT"),),)), provider="opa"),
    )
    assert verdict_on(access(asked, other), REQUEST).asks == (asked,)


def test_one_of_several_sources_and_all_conditions_of_one() -> None:
    both = (exact(Attribute.NAMESPACE, "shop"), exact(Attribute.SERVICE_ACCOUNT, "shop/other"))
    asked = access(policy("a", Action.ALLOW, rule(sources=(both, (exact(Attribute.PRINCIPAL, OTHER),)))))
    assert not verdict_on(asked, REQUEST).allowed
    assert verdict_on(asked, Call(OTHER, 1, HttpCall())).allowed


@pytest.mark.parametrize(
    "attribute", [one for one in Attribute if one not in (Attribute.METHOD, Attribute.PATH, Attribute.PORT)]
)
def test_what_is_absent_meets_no_condition_but_its_negation(attribute: Attribute) -> None:
    nobody = Call(port=1, http=HttpCall())
    key = ("x-id",)
    for kind in PatternKind:
        pattern = (Pattern(kind, "10.0.0.0/8" if kind is PatternKind.NETWORK else "/a"),)
        assert condition_holds(Condition(attribute, pattern, key=key), nobody) == 0, kind
        assert condition_holds(Condition(attribute, pattern, negated=True, key=key), nobody) == 2, kind


def test_on_a_connection_what_only_requests_have_never_lets_anybody_in() -> None:
    connection = Call(SHOP, 5432)
    negated = rule(operations=((exact(Attribute.PATH, "/x", negated=True),),))
    for each in (GET, negated):
        assert not verdict_on(access(policy("a", Action.ALLOW, each)), connection).allowed
        assert not verdict_on(access(policy("d", Action.DENY, each)), connection).allowed
    both = rule(sources=FROM_SHOP.sources, operations=GET.operations)
    asked = access(policy("d", Action.DENY, both))
    assert not verdict_on(asked, connection).allowed and verdict_on(asked, Call(OTHER, 5432)).allowed


def test_namespaces_are_those_of_the_own_trust_domain() -> None:
    asked = access(policy("a", Action.ALLOW, FROM_SHOP))
    assert verdict_on(asked, REQUEST).allowed
    assert not verdict_on(asked, Call("other.org/ns/shop/sa/web", 8080, HttpCall())).allowed


def test_the_port_is_the_one_that_policies_mean() -> None:
    asked = access(
        policy(
            "a",
            Action.ALLOW,
            rule(operations=((exact(Attribute.PORT, "80"),),)),
        ),
        port=80,
    )
    assert verdict_on(asked, REQUEST).allowed


def test_of_several_rules_the_first_by_name_is_named() -> None:
    asked = access(policy("z", Action.DENY, rule()), policy("a", Action.DENY, GET, rule(1)))
    found = verdict_on(asked, REQUEST)
    assert found.policy is asked.policies[1] and found.rule is GET


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("a.com", "A.com:8080", True),
        ("a.com:80", "a.com:8080", False),
        ("a.com:80", "a.com:80", True),
        ("a.com", "a.com.evil", False),
        ("[::1]", "[::1]:80", True),
        ("[::1]:80", "[::1]", False),
    ],
)
def test_hosts_without_a_port_mean_any(pattern: str, host: str, fits: bool) -> None:
    asked = access(policy("a", Action.ALLOW, rule(operations=((exact(Attribute.HOST, pattern),),))))
    assert verdict_on(asked, Call(http=HttpCall(host=host))).allowed is fits


def test_a_host_that_is_not_well_formed_is_refused_where_a_policy_looks_at_it() -> None:
    looking = access(policy("d", Action.DENY, rule(operations=((exact(Attribute.HOST, "a"),),))))
    call = Call(http=HttpCall(host="b:80:90"))
    assert not verdict_on(looking, call).allowed and verdict_on(OPEN, call).allowed


@pytest.mark.parametrize("path", ["/open/..;/admin", "/open/..;x=1/admin", "/open/.;", "/open/..%3B/admin"])
def test_a_path_that_is_not_well_formed_is_refused_where_a_policy_looks_at_it(path: str) -> None:
    begins = Condition(Attribute.PATH, (Pattern(PatternKind.PREFIX, "/open/"),))
    looking = access(policy("a", Action.ALLOW, rule(operations=((begins,),))))
    call = Call(http=HttpCall(path=path))
    assert not verdict_on(looking, call).allowed and verdict_on(OPEN, call).allowed
    assert verdict_on(looking, Call(http=HttpCall(path="/open/a;x/...;/b..;"))).allowed


def test_what_is_not_known_is_not_allowed_and_named() -> None:
    call = Call(SHOP, 8080, HttpCall(), unknown=frozenset({Attribute.SOURCE_IP}))
    network = Condition(Attribute.SOURCE_IP, (Pattern(PatternKind.NETWORK, "10.0.0.0/8"),))
    found = verdict_on(access(policy("a", Action.ALLOW, rule(sources=((network,),)))), call)
    assert not found.allowed and found.depends == (Attribute.SOURCE_IP,) and "source ip" in found.reason
    sure = access(policy("a", Action.ALLOW, rule(sources=((network,),)), FROM_SHOP))
    assert verdict_on(sure, call).allowed


def test_claims_are_texts_lists_and_nested() -> None:
    claims = {"iss": "me", "sub": "you", "aud": ["a", "b"], "realm": {"roles": ["x", "admin"]}, "scope": "read write"}
    call = Call(http=HttpCall(claims=claims))
    assert condition_holds(exact(Attribute.REQUEST_PRINCIPAL, "me/you"), call)
    assert condition_holds(exact(Attribute.AUDIENCE, "b"), call)
    assert condition_holds(exact(Attribute.CLAIM, "admin", key=("realm", "roles")), call)
    assert condition_holds(exact(Attribute.CLAIM, "write", key=("scope",)), call)
    assert not condition_holds(exact(Attribute.CLAIM, "admin", key=("roles",)), call)


@pytest.mark.parametrize(
    ("template", "path", "fits"),
    [
        ("/a/{*}", "/a/b", True),
        ("/a/{*}", "/a/b/c", False),
        ("/a/{*}", "/a/", False),
        ("/a/{**}", "/a/b/c", True),
        ("/a/{**}", "/a/", True),
        ("/a/{**}", "/a", False),
        ("/a/{**}/z", "/a/b/c/z", True),
        ("/a/{**}/z", "/a//z", True),
        ("/a/{*}", "/a/b|c é", True),
        ("/{*}/b/{**}", "/a/b/c/d", True),
        ("/{*}/b", "/a/x", False),
    ],
)
def test_path_templates(template: str, path: str, fits: bool) -> None:
    assert template_fits(template, path) is fits
