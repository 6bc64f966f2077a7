"""The verdict on a call: whether it is allowed, and by which policy, without Envoy. A real Envoy is the judge of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weft.mesh.access.access import Access
from weft.mesh.access.call import Call
from weft.mesh.access.matching import Truth, attributes_of, policy_matches, rule_matches
from weft.mesh.access.policy import (
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Closed,
    is_well_formed_host,
    is_well_formed_path,
)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would have come of the dry runs of one action: `denied` or not, by which policy and rule."""

    action: Action
    denied: bool
    policy: AccessPolicy | None = None
    rule: AccessRule | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided on a call.

    `policy` and `rule` decide; None where no policy asks anything. A call that no rule of the ALLOW policies matches is
    denied by the first of them, without a rule. `asks`: the CUSTOM policies whose providers are asked before; `allowed`
    is then what comes of it if all of them agree. `depends` is what is not known of the call and decides: it is not
    allowed then. `audited` are the AUDIT policies that note it.
    """

    allowed: bool
    reason: str
    policy: AccessPolicy | Closed | None = None
    rule: AccessRule | None = None
    asks: tuple[AccessPolicy, ...] = ()
    audited: tuple[AccessPolicy, ...] = ()
    dry_run: tuple[DryRun, ...] = ()
    depends: tuple[Attribute, ...] = ()


def verdict_on(access: Access, call: Call) -> Verdict:
    """What becomes of a call where `access` is asked."""
    if access.closed:
        closed = access.closed[0]
        return Verdict(allowed=False, reason=f"closed for everybody: {closed.reason}", policy=closed)
    call = replace(call, port=access.port, trust_domain=access.trust_domain)
    asking = access.enforced(Action.CUSTOM)
    if asking and call.http is None:
        reason = f"{asking[0].provider} would have to be asked, and nobody is asked about connections"
        return Verdict(allowed=False, reason=reason, policy=asking[0])
    noted = Verdict(
        allowed=True,
        reason="",
        asks=_matching(access.enforced(Action.CUSTOM), call),
        audited=_matching(access.enforced(Action.AUDIT), call),
        dry_run=_dry_runs(access, call),
    )
    for attribute, bad in ((Attribute.HOST, _is_bad_host), (Attribute.PATH, _is_bad_path)):
        if (looking := _looking_at(access, attribute)) is not None and bad(call):
            what = attribute.name.lower()
            reason = f"its {what} is not well formed, so what a policy says of {what}s cannot be decided"
            return _with(noted, Verdict(allowed=False, reason=reason, policy=looking))
    denied = _denied(access.enforced(Action.DENY), call)
    if denied is not None:
        return _with(noted, denied)
    return _with(noted, _allowed(access.enforced(Action.ALLOW), call))


def _looking_at(access: Access, attribute: Attribute) -> AccessPolicy | None:
    """The first policy in force that asks for the host, or the path."""
    enforced = (policy for policy in access.policies if policy.action is not Action.AUDIT and not policy.dry_run)
    return next((one for one in enforced if any(attribute in attributes_of(rule) for rule in one.rules)), None)


def _is_bad_host(call: Call) -> bool:
    known = call.http is not None and Attribute.HOST not in call.unknown
    return known and call.http is not None and not is_well_formed_host(call.http.host)


def _is_bad_path(call: Call) -> bool:
    known = call.http is not None and Attribute.PATH not in call.unknown
    return known and call.http is not None and not is_well_formed_path(call.http.path)


def _with(noted: Verdict, decided: Verdict) -> Verdict:
    return replace(decided, asks=noted.asks, audited=noted.audited, dry_run=noted.dry_run)


def _denied(policies: tuple[AccessPolicy, ...], call: Call) -> Verdict | None:
    """The verdict of DENY policies, None if they say nothing. One that surely denies goes before one that may."""
    policy, rule, truth = _strongest(policies, call)
    if policy is None or rule is None:
        return None
    if truth is Truth.YES:
        return Verdict(
            allowed=False, reason=f"rule {rule.number} of a DENY policy matches the call", policy=policy, rule=rule
        )
    return _open(policy, rule, call, "whether a DENY policy matches")


def _allowed(policies: tuple[AccessPolicy, ...], call: Call) -> Verdict:
    if not policies:
        return Verdict(allowed=True, reason="no ALLOW policy is in force here, and no DENY policy matches the call")
    policy, rule, truth = _strongest(policies, call)
    if policy is None or rule is None:
        return Verdict(allowed=False, reason=_none_matches(policies), policy=policies[0])
    if truth is Truth.YES:
        return Verdict(
            allowed=True, reason=f"rule {rule.number} of an ALLOW policy matches the call", policy=policy, rule=rule
        )
    return _open(policy, rule, call, "whether an ALLOW policy matches")


def _none_matches(policies: tuple[AccessPolicy, ...]) -> str:
    if len(policies) > 1:
        return f"no rule of the {len(policies)} ALLOW policies in force here matches the call"
    if not policies[0].rules:
        return "the only ALLOW policy in force here has no rules, so it allows nobody"
    return "no rule of the only ALLOW policy in force here matches the call"


def _open(policy: AccessPolicy, rule: AccessRule, call: Call, what: str) -> Verdict:
    depends = tuple(sorted(attributes_of(rule) & call.unknown, key=lambda one: one.name))
    names = ", ".join(one.name.lower().replace("_", " ") for one in depends)
    return Verdict(
        allowed=False,
        reason=f"{what} (rule {rule.number}) depends on what is not given: {names}",
        policy=policy,
        rule=rule,
        depends=depends,
    )


def _strongest(policies: Iterable[AccessPolicy], call: Call) -> tuple[AccessPolicy | None, AccessRule | None, Truth]:
    """The first rule, by its name in proxies, that surely matches; else the first that may."""
    named = sorted(((policy.rule_id(rule), policy, rule) for policy in policies for rule in policy.rules), key=_name)
    best: tuple[AccessPolicy | None, AccessRule | None, Truth] = (None, None, Truth.NO)
    for _, policy, rule in named:
        found = rule_matches(rule, call, policy.action)
        if found > best[2]:
            best = (policy, rule, found)
    return best


def _name(named: tuple[str, AccessPolicy, AccessRule]) -> str:
    return named[0]


def _matching(policies: Iterable[AccessPolicy], call: Call) -> tuple[AccessPolicy, ...]:
    """The policies that match, or may."""
    return tuple(policy for policy in policies if policy_matches(policy, call)[0] is not Truth.NO)


def _dry_runs(access: Access, call: Call) -> tuple[DryRun, ...]:
    found = []
    for action in (Action.DENY, Action.ALLOW):
        policies = [one for one in access.policies if one.dry_run and one.action is action]
        if policies:
            policy, rule, truth = _strongest(policies, call)
            denied = (truth is Truth.YES) is (action is Action.DENY)
            found.append(DryRun(action, denied, policy, rule))
    return tuple(found)
