"""Reach: whether a caller may call a place at all, whatever it asks for there: always, never, or for some requests."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from weft.mesh.access.access import Access
from weft.mesh.access.call import Call, HttpCall
from weft.mesh.access.matching import Truth, conditions_hold, policy_matches, rule_matches
from weft.mesh.access.policy import HTTP_ONLY, AccessPolicy, AccessRule, Action, Attribute, Closed, Conditions
from weft.mesh.access.words import rule_text

_OPEN_ENDED = HTTP_ONLY | {Attribute.SOURCE_IP, Attribute.REMOTE_IP, Attribute.DESTINATION_IP, Attribute.SNI}
"""What differs from call to call of one caller."""
_MOST = 8


class Reaches(enum.StrEnum):
    """How far a caller comes. UNCONSTRAINED: no policy says anything about this place."""

    YES = "yes"
    SOME = "some"
    NO = "no"
    UNCONSTRAINED = "unconstrained"


@dataclass(frozen=True, slots=True)
class Reach:
    """How far. For SOME in words: `only` what one of these matches, `but` not what one of these does, and only if the
    providers in `asks` agree. `policies` say so."""

    reaches: Reaches
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    policies: tuple[AccessPolicy | Closed, ...] = ()


def any_call(principal: str, port: int, *, http: bool) -> Call:
    """All calls of one caller to one port."""
    return Call(principal, port, HttpCall() if http else None, unknown=_OPEN_ENDED)


def reach_of(access: Access, call: Call) -> Reach:
    """How far a caller comes, of whom `call` says what is the same in all its calls."""
    call = replace(call, port=access.port, trust_domain=access.trust_domain)
    if access.closed:
        return Reach(Reaches.NO, policies=access.closed)
    deny, allow, custom = (access.enforced(action) for action in (Action.DENY, Action.ALLOW, Action.CUSTOM))
    if not (deny or allow or custom):
        return Reach(Reaches.UNCONSTRAINED)
    if custom and call.http is None:
        return Reach(Reaches.NO, policies=custom[:1])
    denied = _matching(deny, call)
    if surely := [policy for policy, truth, _ in denied if truth is Truth.YES]:
        return Reach(Reaches.NO, policies=tuple(surely[:1]))
    allowed = _matching(allow, call)
    if allow and not allowed:
        return Reach(Reaches.NO, policies=allow[:1])
    asked = _matching(custom, call)
    always = [policy for policy, truth, _ in allowed if truth is Truth.YES][:1]
    only = () if always or not allow else _words(allowed, call)
    but = _words(denied, call)
    asks = tuple(dict.fromkeys(policy.provider for policy, _, _ in asked))
    deciding = always or [policy for policy, _, _ in allowed]
    concerned = {id(policy): policy for policy in (*deciding, *(each for each, _, _ in (*denied, *asked)))}
    return Reach(Reaches.SOME if only or but or asks else Reaches.YES, only, but, asks, tuple(concerned.values()))


Matching = tuple[AccessPolicy, Truth, AccessRule | None]


def _matching(policies: tuple[AccessPolicy, ...], call: Call) -> list[Matching]:
    found = [(policy, *policy_matches(policy, call)) for policy in policies]
    return [one for one in found if one[1] is not Truth.NO]


def _words(found: list[Matching], call: Call) -> tuple[str, ...]:
    """What is asked for by the rules that may match."""
    rules = [
        rule_text(_narrowed(rule, call, policy.action))
        for policy, _, _ in found
        for rule in policy.rules
        if rule_matches(rule, call, policy.action) is not Truth.NO
    ]
    unique = tuple(dict.fromkeys(rules))
    return (*unique[:_MOST], f"and {len(unique) - _MOST} more") if len(unique) > _MOST else unique


def _narrowed(rule: AccessRule, call: Call, action: Action) -> AccessRule:
    """A rule without what is already decided: alternatives that cannot hold, and conditions that do."""
    return AccessRule(
        rule.number,
        rule.origin,
        _left(rule.sources, call, action),
        _left(rule.operations, call, action),
        _undecided(rule.when, call, action),
    )


def _left(alternatives: tuple[Conditions, ...], call: Call, action: Action) -> tuple[Conditions, ...]:
    found = [
        _undecided(one, call, action) for one in alternatives if conditions_hold(one, call, action) is not Truth.NO
    ]
    return tuple(found) if all(found) else ()


def _undecided(conditions: Conditions, call: Call, action: Action) -> Conditions:
    return tuple(one for one in conditions if conditions_hold((one,), call, action) is not Truth.YES)
