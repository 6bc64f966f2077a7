"""Implication: whether a rule can be met, and whether it is met wherever another is. In doubt it is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from weft.mesh.access.call import Call
from weft.mesh.access.matching import Truth, condition_holds, pattern_fits
from weft.mesh.access.policy import AccessRule, Attribute, Condition, Conditions, Pattern, PatternKind

_IDENTITY = (Attribute.PRINCIPAL, Attribute.NAMESPACE, Attribute.SERVICE_ACCOUNT, Attribute.TRUST_DOMAIN)
_SEVERAL = (Attribute.CLAIM, Attribute.AUDIENCE)
"""What may have several values: two conditions may be met by two of them."""
_MOST = 64
"""Ways in which a rule may be met that are looked at."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def ways(rule: AccessRule) -> Iterator[Conditions]:
    """The ways in which a rule can be met: what has to hold in each."""
    for count, (source, operation) in enumerate(product(rule.sources or ((),), rule.operations or ((),))):
        if count >= _MOST:
            return
        yield (*source, *operation, *rule.when)


def contradiction(conditions: Conditions, trust_domain: str) -> tuple[Condition, ...]:
    """Conditions that cannot all be met; empty where nothing is known against them."""
    of_caller = tuple(one for one in conditions if one.attribute in _IDENTITY)
    if (found := _no_caller(of_caller, trust_domain)) is not None:
        return found
    groups: dict[tuple[Attribute, tuple[str, ...]], list[Condition]] = {}
    for one in conditions:
        if one.attribute not in _SEVERAL:
            groups.setdefault((one.attribute, one.key), []).append(one)
    return next((tuple(group) for group in groups.values() if len(group) > 1 and _none_fits(group)), ())


def _no_caller(conditions: Conditions, trust_domain: str) -> tuple[Condition, ...] | None:
    """Conditions on the caller that no caller meets: of those that name a few callers, none meets all."""
    if len(conditions) < 2:
        return None
    for one in conditions:
        candidates = list(_callers(one, trust_domain))
        if not candidates:
            continue
        judged = conditions if one.attribute is not Attribute.NAMESPACE else _of_namespaces(conditions)
        if not any(_all_hold(judged, candidate, trust_domain) for candidate in candidates):
            return conditions
    return None


def _of_namespaces(conditions: Conditions) -> Conditions:
    return tuple(one for one in conditions if one.attribute in (Attribute.NAMESPACE, Attribute.TRUST_DOMAIN))


def _callers(condition: Condition, trust_domain: str) -> Iterator[str]:
    """The callers that a condition names, if it names them one by one; of a namespace one stands for all."""
    if condition.negated or any(pattern.kind is not PatternKind.EXACT for pattern in condition.patterns):
        return
    for pattern in condition.patterns:
        if condition.attribute is Attribute.PRINCIPAL:
            yield pattern.value
        elif condition.attribute is Attribute.SERVICE_ACCOUNT:
            namespace, _, account = pattern.value.partition("/")
            yield f"{trust_domain}/ns/{namespace}/sa/{account}"
        elif condition.attribute is Attribute.NAMESPACE:
            yield f"{trust_domain}/ns/{pattern.value}/sa/any"


def _all_hold(conditions: Iterable[Condition], principal: str, trust_domain: str) -> bool:
    call = Call(principal, trust_domain=trust_domain)
    return all(condition_holds(one, call) is not Truth.NO for one in conditions)


def _none_fits(group: list[Condition]) -> bool:
    """Whether none of the values that one of these conditions lists meets the others."""
    for one in group:
        if one.negated or any(pattern.kind is not PatternKind.EXACT for pattern in one.patterns):
            continue
        values = [pattern.value for pattern in one.patterns]
        return not any(all(_meets(each, value) for each in group) for value in values)
    return False


def _meets(condition: Condition, value: str) -> bool:
    return any(pattern_fits(each, value, condition.attribute) for each in condition.patterns) is not condition.negated


def includes(wide: AccessRule, narrow: AccessRule, trust_domain: str) -> bool:
    """Whether `wide` matches every call that `narrow` matches."""
    wider = list(ways(wide))
    return all(any(_follows(each, one, trust_domain) for each in wider) for one in ways(narrow))


def _follows(wanted: Conditions, given: Conditions, trust_domain: str) -> bool:
    """Whether all of `wanted` hold where all of `given` do."""
    return all(any(_implied(each, one, trust_domain) for one in given) for each in wanted)


def _implied(wanted: Condition, given: Condition, trust_domain: str) -> bool:
    callers = list(_callers(given, trust_domain)) if given.attribute is not Attribute.NAMESPACE else []
    if callers and wanted.attribute in _IDENTITY:
        return all(condition_holds(wanted, Call(each, trust_domain=trust_domain)) is Truth.YES for each in callers)
    if (wanted.attribute, wanted.key) != (given.attribute, given.key):
        return False
    if wanted.negated and given.negated:
        return set(wanted.patterns) <= set(given.patterns)
    if given.negated:
        return False
    if wanted.negated:
        exact = all(one.kind is PatternKind.EXACT for one in given.patterns)
        return exact and all(_meets(wanted, one.value) for one in given.patterns)
    return all(any(_covers(each, one, wanted.attribute) for each in wanted.patterns) for one in given.patterns)


def _covers(wide: Pattern, narrow: Pattern, attribute: Attribute) -> bool:
    if wide == narrow:
        return True
    if narrow.kind is PatternKind.EXACT:
        return pattern_fits(wide, narrow.value, attribute)
    if wide.kind is PatternKind.NETWORK and narrow.kind is PatternKind.NETWORK:
        return _within(ip_network(narrow.value, strict=False), ip_network(wide.value, strict=False))
    if narrow.kind in (PatternKind.TEMPLATE, PatternKind.REGEX, PatternKind.NETWORK) or attribute is Attribute.HOST:
        return False
    if wide.kind is PatternKind.PREFIX and narrow.kind is PatternKind.PREFIX:
        return narrow.value.startswith(wide.value)
    ends = wide.kind is PatternKind.SUFFIX and narrow.kind is PatternKind.SUFFIX
    return wide.kind is PatternKind.PRESENT or (ends and narrow.value.endswith(wide.value))


def _within(narrow: IPv4Network | IPv6Network, wide: IPv4Network | IPv6Network) -> bool:
    if isinstance(narrow, IPv4Network) and isinstance(wide, IPv4Network):
        return narrow.subnet_of(wide)
    return isinstance(narrow, IPv6Network) and isinstance(wide, IPv6Network) and narrow.subnet_of(wide)
