"""Acceptance: whether a route is attached to each of its parents and why not, in the Gateway API's conditions.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from weft.mesh.memo import Memo
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.kind import ParentRef
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity

Attachments = tuple[tuple[ParentRef, Problem | None], ...]
"""The references of one route to Gateways, each with why it was refused."""
_REASONS = {
    "unknown-gateway": "NoMatchingParent",
    "unknown-service": "NoMatchingParent",
    "unknown-port": "NoMatchingParent",
    "no-matching-listener": "NoMatchingParent",
    "not-allowed": "NotAllowedByListeners",
    "no-matching-host": "NoMatchingListenerHostname",
    "not-http": "UnsupportedProtocol",
    "host-conflict": "HostConflict",
}
_REFERENCES = {
    "reference-not-granted": "RefNotPermitted",
    "unknown-service": "BackendNotFound",
    "unknown-host": "BackendNotFound",
    "unknown-port": "BackendNotFound",
    "unknown-subset": "BackendNotFound",
    "missing-port": "InvalidKind",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: `type` and `reason` in the API's words, `message` for people."""

    type: Literal["Accepted", "ResolvedRefs"]
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """How one parent of a route took it. `parent` says which in words (``Gateway default/edge``, ``mesh``), `path` is
    the field that names it; `section` and `port` as written."""

    parent: str
    path: FieldPath
    conditions: tuple[Condition, ...]
    section: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """The parents of one route, in the order of the document."""

    route: ObjectKey
    parents: tuple[ParentStatus, ...]


def build_acceptance(
    memo: Memo, routes: tuple[CompiledRoute, ...], attachments: tuple[Attachments, ...], conflicts: tuple[Problem, ...]
) -> tuple[RouteStatus, ...]:
    """How every parent of every route took it. `attachments` are those of each route to Gateways, `conflicts` what is
    wrong between routes that want one host."""
    lost: dict[ObjectKey | None, tuple[Problem, ...]] = {}
    for problem in conflicts:
        lost[problem.object] = (*lost.get(problem.object, ()), problem)
    nothing: tuple[Problem, ...] = ()
    return memo.rows(route_status, (routes, attachments, [lost.get(route.document.key, nothing) for route in routes]))


def route_status(
    _memo: Memo, route: CompiledRoute, attachments: Attachments, conflicts: tuple[Problem, ...]
) -> RouteStatus:
    """How every parent of one route took it."""
    references = resolved(problem for converted in route.rules.values() for problem in converted.problems)
    parents = []
    for parent in route.kind.mesh_parents(route.document):
        problems = [one for one in (*route.claims.problems, *conflicts) if _within(one, parent.path)]
        conditions = (accepted(problems), references)
        parents.append(ParentStatus(parent.name, parent.path, conditions, port=parent.port))
    for ref, problem in attachments:
        conditions = (accepted([problem] if problem else []), references)
        parents.append(ParentStatus(f"Gateway {ref.gateway}", ref.path, conditions, ref.section, ref.port))
    parents.sort(key=lambda parent: [str(part).zfill(6) for part in parent.path])
    return RouteStatus(route.document.key, tuple(parents))


def accepted(problems: Iterable[Problem]) -> Condition:
    """The Accepted condition of a parent, from what is wrong between it and the route: an error refuses it."""
    for problem in problems:
        if problem.severity is Severity.ERROR and problem.code in _REASONS:
            return Condition("Accepted", False, _REASONS[problem.code], problem.message)
    return Condition("Accepted", True, "Accepted")


def resolved(problems: Iterable[Problem]) -> Condition:
    """The ResolvedRefs condition, from what is wrong with the rules of a route."""
    for problem in problems:
        if problem.code in _REFERENCES:
            return Condition("ResolvedRefs", False, _REFERENCES[problem.code], problem.message)
    return Condition("ResolvedRefs", True, "ResolvedRefs")


def _within(problem: Problem, path: FieldPath) -> bool:
    return problem.path[: len(path)] == path
