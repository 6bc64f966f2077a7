"""Hedging: the annotation by which a route's requests are sent a second time when a try takes longer than its time.

The try goes on beside the next, and the first good answer is the client's. Only requests that change nothing are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.mesh.problems import problem_at
from weft.mesh.routes.kind import RouteDocument
from weft.mesh.routes.rules import Forward, Rule
from weft.model.problem import Problem, Severity
from weft.schema.annotations import HEDGE


def with_hedging(rule: Rule, document: RouteDocument) -> Rule:
    """`rule`, hedged if its document says so and its tries have a time."""
    action = rule.action
    if not _is_hedged(document) or not isinstance(action, Forward) or not _try_time(action):
        return rule
    return replace(rule, action=replace(action, hedge=True))


def hedging_problems(rules: Sequence[Rule], document: RouteDocument) -> tuple[Problem, ...]:
    """A warning where nothing of a document is hedged that says so."""
    if not rules or not _is_hedged(document):
        return ()
    if any(isinstance(rule.action, Forward) and rule.action.hedge for rule in rules):
        return ()
    message = "no rule has a time limit for each try, so nothing is hedged"
    expected = "timeouts.backendRequest or retries.perTryTimeout in a rule"
    path = ("metadata", "annotations", HEDGE)
    return (problem_at(document, path, "hedge-without-limit", message, expected, severity=Severity.WARNING),)


def _is_hedged(document: RouteDocument) -> bool:
    return any(key == HEDGE for key, _ in document.annotations)


def _try_time(forward: Forward) -> float | None:
    """How long a try may take that is followed by another, in seconds."""
    if forward.retry is None:
        return forward.per_try_timeout
    return forward.retry.per_try_timeout if forward.retry.attempts else None
