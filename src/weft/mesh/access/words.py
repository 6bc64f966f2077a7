"""Policies in words: what a rule asks for, short enough for a line of a table."""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.access.policy import AccessPolicy, AccessRule, Attribute, Condition, Conditions, Pattern, PatternKind

_NAMES = {
    Attribute.PRINCIPAL: "identity",
    Attribute.NAMESPACE: "namespace",
    Attribute.SERVICE_ACCOUNT: "service account",
    Attribute.TRUST_DOMAIN: "trust domain",
    Attribute.SOURCE_IP: "source address",
    Attribute.REMOTE_IP: "client address",
    Attribute.REQUEST_PRINCIPAL: "token of",
    Attribute.AUDIENCE: "token for",
    Attribute.PRESENTER: "token issued to",
    Attribute.CLAIM: "claim",
    Attribute.HEADER: "header",
    Attribute.HOST: "host",
    Attribute.METHOD: "method",
    Attribute.PATH: "path",
    Attribute.PORT: "port",
    Attribute.DESTINATION_IP: "destination address",
    Attribute.SNI: "server name",
}
_MOST = 6


def attribute_word(attribute: Attribute) -> str:
    """What an attribute is called."""
    return _NAMES[attribute]


def pattern_text(pattern: Pattern) -> str:
    """A pattern as documents write it."""
    match pattern.kind:
        case PatternKind.PREFIX:
            return f"{pattern.value}*"
        case PatternKind.SUFFIX:
            return f"*{pattern.value}"
        case PatternKind.PRESENT:
            return "*"
    return pattern.value


def condition_text(condition: Condition) -> str:
    """One condition: ``namespace shop, other``, ``not method PUT``, ``header x-id = *``."""
    patterns = [pattern_text(pattern) for pattern in condition.patterns]
    shown = ", ".join(patterns[:_MOST]) + (f" and {len(patterns) - _MOST} more" if len(patterns) > _MOST else "")
    name = _NAMES[condition.attribute]
    if condition.key:
        name = f"{name} {'.'.join(condition.key)} ="
    return f"{'not ' if condition.negated else ''}{name} {shown or 'nothing'}"


def conditions_text(conditions: Iterable[Condition]) -> str:
    """Conditions that all hold."""
    return " and ".join(condition_text(one) for one in conditions)


def rule_text(rule: AccessRule) -> str:
    """What a rule matches, in a line: from whom, what, and when."""
    parts = []
    if rule.sources:
        parts.append(f"from {_alternatives(rule.sources)}")
    if rule.operations:
        parts.append(f"to {_alternatives(rule.operations)}")
    if rule.when:
        parts.append(f"when {conditions_text(rule.when)}")
    return "; ".join(parts) or "every call"


def policy_word(policy: AccessPolicy) -> str:
    """The action as it is in force."""
    asked = f" {policy.provider}" if policy.provider else ""
    return f"{policy.action.value}{asked}{' (dry run)' if policy.dry_run else ''}"


def _alternatives(groups: tuple[Conditions, ...]) -> str:
    shown = [conditions_text(group) or "any" for group in groups[:_MOST]]
    more = len(groups) - _MOST
    return " or ".join(shown) + (f" or {more} more" if more > 0 else "")
