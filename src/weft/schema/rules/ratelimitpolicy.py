"""Rules of RateLimitPolicy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.ratelimitpolicy import LimitKey, LimitTarget, RateLimitPolicySpec

_NAMED = ("Header", "Claim")


def targets(spec: RateLimitPolicySpec) -> Iterator[Finding]:
    """Each target is named once."""
    names = [(target.kind, target.name, target.section_name) for target in spec.target_refs]
    for index, (kind, name, section) in enumerate(names):
        if (kind, name, section) in names[:index]:
            yield duplicate(("targetRefs", index), f"{kind} '{name}' is named twice")


def limits(spec: RateLimitPolicySpec) -> Iterator[Finding]:
    """Limits have names of their own: they are counted by them."""
    names = [limit.name for limit in spec.limits]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield duplicate(("limits", index, "name"), f"'{name}' is the name of another limit")


def asked(spec: RateLimitPolicySpec) -> Iterator[Finding]:
    """Only who is asked may not answer."""
    if spec.mode == "Local" and spec.failure_mode is not None:
        yield conflicting(("failureMode",), "a proxy that counts for itself asks nobody", "mode Global, or none")


def target(spec: LimitTarget) -> Iterator[Finding]:
    """The group is the kind's; only a Service has sections."""
    group = "" if spec.kind == "Service" else GATEWAY_GROUP
    if spec.group not in (None, group):
        yield Finding(("group",), f"{spec.kind} is not of this group", f"'{group}'")
    if spec.section_name is not None and spec.kind != "Service":
        yield conflicting(("sectionName",), f"a {spec.kind} is limited as a whole", "no sectionName")


def key(spec: LimitKey) -> Iterator[Finding]:
    """Headers and claims have names, and nothing else has."""
    if spec.type in _NAMED and spec.name is None:
        yield missing((), "the field 'name' is missing", f"the name of the {spec.type.lower()}")
    if spec.type not in _NAMED and spec.name is not None:
        yield conflicting(("name",), f"{spec.type} has no name", "no name")


RULES: Mapping[type, tuple[Rule, ...]] = {
    RateLimitPolicySpec: (targets, limits, asked),
    LimitTarget: (target,),
    LimitKey: (key,),
}
