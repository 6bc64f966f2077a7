"""Access rules as Envoy's: whatever names are, they never become part of an expression, and every chain ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import re2  # type: ignore[import-untyped]  # ships no types
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.views import ORIGIN, TRUST_DOMAIN
from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.matching import conditions_of
from weft.mesh.access.policy import (
    HTTP_ONLY,
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Closed,
    Condition,
    Pattern,
    PatternKind,
    principal_parts,
)
from weft.model.document import ObjectKey
from weft.xds.access.connections import admitted, connection_filters
from weft.xds.access.matchers import NOT_EMPTY, other_than
from weft.xds.access.rules import encode_rules
from weft.xds.filters import rbac

KINDS = (PatternKind.EXACT, PatternKind.PREFIX, PatternKind.SUFFIX)
TEXTS = st.text("ab.*+?()[]{}|^$\\/-_é", min_size=1, max_size=12)
NETWORKS = (Attribute.SOURCE_IP, Attribute.REMOTE_IP, Attribute.DESTINATION_IP)
OF_CALLERS = (
    Attribute.PRINCIPAL,
    Attribute.NAMESPACE,
    Attribute.SERVICE_ACCOUNT,
    Attribute.TRUST_DOMAIN,
    Attribute.REQUEST_PRINCIPAL,
)
OF_CALLS = (Attribute.HOST, Attribute.METHOD, Attribute.PATH)
OTHERS = (Attribute.AUDIENCE, Attribute.PRESENTER, Attribute.CLAIM, Attribute.HEADER, Attribute.SNI)


def conditions(attributes: tuple[Attribute, ...]) -> st.SearchStrategy[tuple[Condition, ...]]:
    patterns = st.lists(st.builds(Pattern, st.sampled_from(KINDS), TEXTS), min_size=1, max_size=3).map(tuple)
    one = st.builds(Condition, st.sampled_from(attributes), patterns, st.booleans(), st.just(("x",)))
    return st.lists(one, max_size=3).map(tuple)


RULES = st.builds(
    AccessRule,
    st.integers(0, 9),
    st.just(ORIGIN),
    st.lists(conditions(OF_CALLERS), max_size=2).map(tuple),
    st.lists(conditions(OF_CALLS), max_size=2).map(tuple),
    conditions(OTHERS),
)


def policy(action: Action, *rules: AccessRule, **more: Any) -> AccessPolicy:
    return AccessPolicy(ObjectKey("g", "AuthorizationPolicy", "default", "p"), ORIGIN, action, rules, **more)


def expressions(message: Any) -> Iterator[str]:
    """Every regular expression in a message, as JSON has it."""
    if isinstance(message, list):
        for each in message:
            yield from expressions(each)
    elif isinstance(message, dict):
        for key, value in message.items():
            if key == "safe_regex":
                yield value["regex"]
            else:
                yield from expressions(value)


@given(RULES, st.sampled_from([Action.ALLOW, Action.DENY]), st.booleans())
@settings(max_examples=examples(200))
def test_no_name_becomes_an_expression(rule: AccessRule, action: Action, http: bool) -> None:
    access = Access((policy(action, rule),), (), 80, TRUST_DOMAIN)
    found = encode_rules(access, access.policies, action, http=http)
    turned = {
        each.safe_regex.regex
        for condition in conditions_of(rule)
        if condition.attribute is Attribute.HEADER
        for pattern in condition.patterns
        for each in other_than(pattern)
    }
    assert set(expressions(MessageToDict(found, preserving_proto_field_name=True))) <= {NOT_EMPTY, *turned}


BYTES = re2.Options()
BYTES.encoding = re2.Options.Encoding.LATIN1
VALUES = st.text("ab.*é^]-\\", max_size=4) | st.text("ab", min_size=390, max_size=410)
FITS: dict[PatternKind, Callable[[str, str], bool]] = {
    PatternKind.EXACT: lambda text, value: text == value,
    PatternKind.PREFIX: lambda text, value: text.startswith(value),
    PatternKind.SUFFIX: lambda text, value: text.endswith(value),
    PatternKind.PRESENT: lambda text, _: text != "",
}


@given(st.sampled_from(list(FITS)), VALUES, VALUES)
@settings(max_examples=examples(400))
def test_what_is_other_than_a_pattern_is_every_text_that_does_not_fit(kind: PatternKind, text: str, more: str) -> None:
    if not text and kind in (PatternKind.PREFIX, PatternKind.SUFFIX):
        return
    others = other_than(Pattern(kind, text))
    for value in {text, text[:-1], text[1:], text + more, more + text, more, text[:1] + "b" + text[2:], ""}:
        found = [
            each.exact == value
            if not each.HasField("safe_regex")
            else re2.fullmatch(each.safe_regex.regex.encode(), value.encode(), BYTES)
            for each in others
        ]
        assert any(found) is not FITS[kind](value, text), value


SEGMENTS = ("{*}", "{**}", "a.b", "c+d", "e(f)", "g|h", "~-_", "[i]")
TEMPLATES = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4)


@given(TEMPLATES)
def test_the_literal_parts_of_a_template_stand_for_themselves(parts: list[str]) -> None:
    text = "/" + "/".join(parts)
    condition = Condition(Attribute.PATH, (Pattern(PatternKind.TEMPLATE, text),))
    access = Access((policy(Action.ALLOW, AccessRule(0, ORIGIN, (), ((condition,),))),), (), 80, TRUST_DOMAIN)
    (expression,) = expressions(
        MessageToDict(encode_rules(access, access.policies, Action.ALLOW), preserving_proto_field_name=True)
    )
    assert re2.fullmatch(expression, text.replace("{**}", "x/*|").replace("{*}", "y[z"))
    if "{**}" not in text:
        assert not re2.fullmatch(expression, text.replace("{*}", "y") + "/")
        assert not re2.fullmatch(expression, "x" + text.replace("{*}", "y"))


def test_what_allows_ends_in_a_refusal_and_what_is_closed_too() -> None:
    nobody = rbac.allow_config(Access((policy(Action.ALLOW),), (), 80, TRUST_DOMAIN))
    assert nobody is not None
    assert nobody.rbac.HasField("rules")
    assert not nobody.rbac.rules.policies
    closed = rbac.deny_config(Access((), (Closed(ORIGIN, "a setting"),), 80, TRUST_DOMAIN))
    assert closed is not None
    assert list(closed.rbac.rules.policies) == ["closed"]
    assert [config(OPEN) for config in (rbac.audit_config, rbac.deny_config, rbac.allow_config)] == [None] * 3
    assert connection_filters(OPEN) == []
    assert admitted(OPEN) is None


def test_rules_that_a_port_decides_are_left_out() -> None:
    def at(port: int, *texts: str, negated: bool = False) -> int:
        condition = Condition(Attribute.PORT, tuple(Pattern(PatternKind.EXACT, text) for text in texts), negated)
        access = Access((policy(Action.DENY, AccessRule(0, ORIGIN, (), (), (condition,))),), (), port, TRUST_DOMAIN)
        return len(encode_rules(access, access.policies, Action.DENY).policies)

    assert [at(80, "80", "81"), at(82, "80", "81")] == [1, 0]
    assert [at(80, "80", negated=True), at(82, "80", negated=True)] == [0, 1]


def test_connections_meet_what_only_requests_have_in_a_deny_and_never_in_an_allow() -> None:
    for attribute in sorted(HTTP_ONLY, key=lambda each: each.name):
        for negated in (False, True):
            condition = Condition(attribute, (Pattern(PatternKind.EXACT, "x"),), negated, ("x",))
            for action in Action:
                access = Access((policy(action, AccessRule(0, ORIGIN, (), (), (condition,))),), (), 80, TRUST_DOMAIN)
                found = encode_rules(access, access.policies, action, http=False)
                assert bool(found.policies) is (action is not Action.ALLOW), (attribute, action)


def test_a_requests_principal_is_issuer_and_subject() -> None:
    def parts(kind: PatternKind, text: str = "") -> list[tuple[str, str]]:
        return [(each.kind.name, each.value) for each in principal_parts(Pattern(kind, text))]

    anything = ("PRESENT", "")
    assert parts(PatternKind.EXACT, "https://a/b/me") == [("EXACT", "https://a/b"), ("EXACT", "me")]
    assert parts(PatternKind.EXACT, "me") == [("EXACT", "me"), ("EXACT", "")], "nobody's, and not any issuer's"
    assert parts(PatternKind.PREFIX, "https://a/") == [("EXACT", "https://a"), anything]
    assert parts(PatternKind.PREFIX, "https://a/m") == [("EXACT", "https://a"), ("PREFIX", "m")]
    assert parts(PatternKind.PREFIX, "a") == [("PREFIX", "a"), anything]
    assert parts(PatternKind.SUFFIX, "/me") == [anything, ("EXACT", "me")]
    assert parts(PatternKind.SUFFIX, "a/me") == [("SUFFIX", "a"), ("EXACT", "me")]
    assert parts(PatternKind.SUFFIX, "me") == [anything, ("SUFFIX", "me")]
    assert parts(PatternKind.PRESENT) == [anything, anything]
    own, web = ("EXACT", "spiffe://a.example"), "spiffe://a.example/ns/shop/sa/web"
    assert parts(PatternKind.EXACT, f"spiffe://a.example/{web}") == [own, ("EXACT", web)]
    assert parts(PatternKind.PREFIX, "spiffe://a.example/spiffe://a.example/ns/shop/") == [
        own,
        ("PREFIX", "spiffe://a.example/ns/shop/"),
    ]
    assert parts(PatternKind.SUFFIX, "/sa/web") == [("SUFFIX", "/sa"), ("EXACT", "web")], "no SPIFFE ID is meant"
