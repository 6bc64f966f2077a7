"""Matching: whether a call meets conditions, rules and policies, as Envoy decides it, or whether that is not known."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network

import re2  # type: ignore[import-untyped]  # ships no types

from weft.mesh.access.call import BETWEEN, Call
from weft.mesh.access.policy import (
    HTTP_ONLY,
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Condition,
    Conditions,
    Pattern,
    PatternKind,
    principal_parts,
)

_ONE, _ANY = "{*}", "{**}"
_OPERATORS = re.compile(r"(\{\*{1,2}\})")


class Truth(enum.IntEnum):
    """Whether something holds. All of several holds as far as the least of them, one of several as far as the most."""

    NO = 0
    MAYBE = 1
    YES = 2

    @property
    def opposite(self) -> Truth:
        """Whether it does not hold."""
        return Truth(2 - self)


def condition_holds(condition: Condition, call: Call, action: Action = Action.ALLOW) -> Truth:
    """Whether a call meets a condition of a policy. What only requests have counts, on connections, as met by what does
    not allow."""
    if call.http is None and condition.attribute in HTTP_ONLY:
        return Truth.NO if action is Action.ALLOW else Truth.YES
    values = call.values(condition)
    if values is None:
        return Truth.MAYBE
    each = every_value_counts(condition, action)
    fits = any(_fits(pattern, values, condition.attribute, each) for pattern in condition.patterns)
    return Truth.YES if fits is not condition.negated else Truth.NO


def every_value_counts(condition: Condition, action: Action) -> bool:
    """Whether all values of a header that is sent more than once have to fit one pattern, not only one of them: where
    what fits lets a caller in, so that a right value beside a wrong one helps nobody."""
    return condition.attribute is Attribute.HEADER and (action is Action.ALLOW) is not condition.negated


def _fits(pattern: Pattern, values: tuple[str, ...], attribute: Attribute, each: bool) -> bool:
    found = [pattern_fits(pattern, value, attribute) for value in values]
    return any(found) and (all(found) or not each or pattern.kind is PatternKind.REGEX)


def conditions_hold(conditions: Conditions, call: Call, action: Action = Action.ALLOW) -> Truth:
    """Whether a call meets all of them."""
    return min((condition_holds(one, call, action) for one in conditions), default=Truth.YES)


def rule_matches(rule: AccessRule, call: Call, action: Action) -> Truth:
    """Whether a rule matches."""
    return min(
        _one_holds(rule.sources, call, action),
        _one_holds(rule.operations, call, action),
        conditions_hold(rule.when, call, action),
    )


def policy_matches(policy: AccessPolicy, call: Call) -> tuple[Truth, AccessRule | None]:
    """Whether a policy matches, and its first rule that does (or that may, where none surely does)."""
    best: tuple[Truth, AccessRule | None] = (Truth.NO, None)
    for rule in policy.rules:
        found = rule_matches(rule, call, policy.action)
        if found > best[0]:
            best = (found, rule)
    return best


def attributes_of(rule: AccessRule) -> frozenset[Attribute]:
    """What a rule asks for."""
    return frozenset(condition.attribute for condition in conditions_of(rule))


def conditions_of(rule: AccessRule) -> tuple[Condition, ...]:
    """All conditions of a rule, wherever they stand."""
    groups = (*rule.sources, *rule.operations, rule.when)
    return tuple(condition for group in groups for condition in group)


def _one_holds(alternatives: Iterable[Conditions], call: Call, action: Action) -> Truth:
    found = [conditions_hold(one, call, action) for one in alternatives]
    return max(found) if found else Truth.YES


def pattern_fits(pattern: Pattern, value: str, attribute: Attribute) -> bool:
    """Whether one value fits one pattern."""
    if attribute is Attribute.HOST:
        return _host_fits(pattern, value)
    if attribute is Attribute.REQUEST_PRINCIPAL:
        return _subject_fits(pattern, value)
    return _text_fits(pattern, value)


def _text_fits(pattern: Pattern, value: str) -> bool:
    return _FITS[pattern.kind](pattern.value, value)


def network_has(network: str, address: str) -> bool:
    """Whether an address lies in a network (or is that address)."""
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


def template_fits(template: str, path: str) -> bool:
    """Whether a path fits a template: ``{*}`` is one segment or a part of one, ``{**}`` anything, also nothing."""
    return _parts_fit(tuple(part for part in _OPERATORS.split(template) if part), path)


def _parts_fit(parts: tuple[str, ...], path: str) -> bool:
    if not parts:
        return not path
    first, rest = parts[0], parts[1:]
    if first == _ANY:
        return any(_parts_fit(rest, path[taken:]) for taken in range(len(path) + 1))
    if first == _ONE:
        longest = len(path.partition("/")[0])
        return any(_parts_fit(rest, path[taken:]) for taken in range(1, longest + 1))
    return path.startswith(first) and _parts_fit(rest, path[len(first) :])


def _host_fits(pattern: Pattern, host: str) -> bool:
    """Without a port a pattern means any."""
    wanted = Pattern(pattern.kind, pattern.value.lower())
    if _text_fits(wanted, host.lower()):
        return True
    bare, colon, _ = host.rpartition(":")
    return bool(colon) and ":" not in pattern.value.rpartition("]")[2] and _text_fits(wanted, bare.lower())


def _subject_fits(pattern: Pattern, value: str) -> bool:
    """Issuer and subject of a token, each for itself. `value` has them with a line break between."""
    issuer, _, subject = value.partition(BETWEEN)
    wanted_issuer, wanted_subject = principal_parts(pattern)
    return _text_fits(wanted_issuer, issuer) and _text_fits(wanted_subject, subject)


_FITS: dict[PatternKind, Callable[[str, str], bool]] = {
    PatternKind.EXACT: lambda wanted, value: value == wanted,
    PatternKind.PREFIX: lambda wanted, value: value.startswith(wanted),
    PatternKind.SUFFIX: lambda wanted, value: value.endswith(wanted),
    PatternKind.PRESENT: lambda _, value: value != "",
    PatternKind.TEMPLATE: template_fits,
    PatternKind.NETWORK: network_has,
    PatternKind.REGEX: lambda wanted, value: re2.fullmatch(wanted, value) is not None,
}
