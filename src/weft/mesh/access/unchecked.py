"""Policies that look at tokens where nobody checks any: what they ask of a token is never so there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.mesh.access.attachment import Attachment
from weft.mesh.access.policy import AccessPolicy, AccessRule, Attribute
from weft.mesh.access.tokens import TokenPolicy
from weft.mesh.policies.scope import Scope
from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.problem import Problem, Severity

_OF_TOKENS = frozenset((Attribute.REQUEST_PRINCIPAL, Attribute.AUDIENCE, Attribute.PRESENTER, Attribute.CLAIM))


def unchecked_policies(documents: Iterable[Document[object]], attachments: Iterable[Attachment]) -> tuple[Problem, ...]:
    """A warning for each rule that looks at tokens, and holds where no RequestAuthentication can hold."""
    given = tuple(attachments)
    checked = [each.scope for each in given if isinstance(each.policy, TokenPolicy)]
    by_key = {document.key: document for document in documents}
    found = [
        problem
        for each in given
        if isinstance(each.policy, AccessPolicy) and each.policy.object in by_key
        for problem in _unchecked(by_key[each.policy.object], each.policy, each.scope, checked)
    ]
    return tuple(dict.fromkeys(found))


def _unchecked(
    document: Document[object], policy: AccessPolicy, scope: Scope, checked: list[Scope]
) -> Iterator[Problem]:
    rules = [rule for rule in policy.rules if _looks_at_tokens(rule)]
    if rules and not any(_may_meet(scope, other) for other in checked):
        for rule in rules:
            message = (
                "the rule looks at tokens, and no RequestAuthentication checks any there: none ever counts as valid"
            )
            expected = "a RequestAuthentication for the same workloads or Gateway"
            path = ("spec", "rules", rule.number)
            yield problem_at(document, path, "tokens-unchecked", message, expected, severity=Severity.WARNING)


def _looks_at_tokens(rule: AccessRule) -> bool:
    every = (*rule.sources, *rule.operations, rule.when)
    return any(condition.attribute in _OF_TOKENS for conditions in every for condition in conditions)


def _may_meet(one: Scope, other: Scope) -> bool:
    """Whether there can be a place that both are for, as far as their words tell."""
    if one.namespace and other.namespace and one.namespace != other.namespace:
        return False
    if one.target and other.target:
        kinds = {one.target.partition(" ")[0], other.target.partition(" ")[0]}
        return one.target == other.target or kinds == {"Gateway", "GatewayClass"}
    labels = dict(one.selector)
    return all(labels.get(name, value) == value for name, value in other.selector)
