"""Acceptance: whether a route is attached to each of its parents and why not, in the Gateway API's conditions.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus: Accepted says only whether the route is attached,
ResolvedRefs whether everything its rules refer to is there, and PartiallyInvalid, which stands only where it is true,
that a part of the route is not in force. HostConflict is our own reason, where another document has the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.routes.compiled import CompiledRoute, References, references
from weft.mesh.routes.kind import MESH, THE_MESH, MeshParent
from weft.mesh.routes.ownership import Lost
from weft.mesh.routes.table import subset_problem
from weft.mesh.services.catalog import Catalog
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem

_REFUSALS = {
    "unknown-gateway": "NoMatchingParent",
    "unknown-service": "NoMatchingParent",
    "unknown-port": "NoMatchingParent",
    "unknown-host": "NoMatchingParent",
    "no-matching-listener": "NoMatchingParent",
    "not-allowed": "NotAllowedByListeners",
    "no-matching-host": "NoMatchingListenerHostname",
    "not-http": "UnsupportedValue",
    "not-tcp": "UnsupportedValue",
    "wrong-protocol": "NotAllowedByListeners",
    "udp-in-mesh": "UnsupportedValue",
    "host-conflict": "HostConflict",
    "kind-conflict": "Conflicted",
}
"""Why a parent does not take a route, or a part of it, by the code of the Problem."""
_REFERENCES = {
    "invalid-kind": "InvalidKind",
    "reference-not-granted": "RefNotPermitted",
    "unknown-service": "BackendNotFound",
    "unknown-host": "BackendNotFound",
    "unknown-port": "BackendNotFound",
    "unknown-subset": "BackendNotFound",
}
"""Why a reference of a rule is not resolved, by the code of the Problem."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a route's parent, a listener or a Gateway: `type` and `reason` in the API's words, `message` for
    people."""

    type: Literal[
        "Accepted", "ResolvedRefs", "PartiallyInvalid", "Programmed", "Conflicted", "InsecureFrontendValidationMode"
    ]
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """How one parent of a route took it. `parent` is a Gateway, a Service, a ServiceEntry, or the mesh; `path` the
    field that names it; `section` and `port` as written."""

    parent: ObjectKey
    path: FieldPath
    conditions: tuple[Condition, ...]
    section: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """The parents of one route: the mesh, then those of the document in its order. Gateways of other controllers
    are not among them."""

    route: ObjectKey
    parents: tuple[ParentStatus, ...]


Parents = tuple[ParentStatus, ...]


def build_acceptance(
    memo: Memo,
    routes: tuple[CompiledRoute, ...],
    lost: tuple[Lost, ...],
    subsets: tuple[tuple[Problem, ...], ...],
    gateways: tuple[Parents, ...],
) -> tuple[RouteStatus, ...]:
    """How every parent of every route took it. `lost` are the hosts of the mesh side that a route does not get,
    `subsets` what is wrong with the subsets of each route there, `gateways` the parents of each that are Gateways."""
    mesh = memo.rows(_mesh_parents, (routes, by_route(routes, lost), subsets))
    return memo.rows(_route_status, (routes, mesh, gateways))


def by_route(routes: Iterable[CompiledRoute], lost: Iterable[Lost]) -> list[tuple[Lost, ...]]:
    """What each route lost, in the order of its fields."""
    found: dict[ObjectKey, list[Lost]] = {}
    for one in lost:
        found.setdefault(one.route, []).append(one)
    nothing: tuple[Lost, ...] = ()
    return [
        tuple(sorted(found[route.document.key], key=_place)) if route.document.key in found else nothing
        for route in routes
    ]


def _place(lost: Lost) -> tuple[object, ...]:
    return (_order(lost.path), lost.where, lost.host, lost.problem.message)


def _route_status(_memo: Memo, route: CompiledRoute, mesh: Parents, gateways: Parents) -> RouteStatus:
    parents = sorted((*mesh, *gateways), key=lambda parent: (parent.parent != THE_MESH, _order(parent.path)))
    return RouteStatus(route.document.key, tuple(parents))


def _order(path: FieldPath) -> list[str]:
    return [str(part).zfill(6) for part in path]


def _mesh_parents(
    memo: Memo, route: CompiledRoute, lost: tuple[Lost, ...], subsets: tuple[Problem, ...]
) -> tuple[ParentStatus, ...]:
    """How the mesh, or each service among the parents, took the route."""
    parents: tuple[MeshParent, ...] = route.kind.mesh_parents(route.document)
    if not parents:
        return ()
    found = [problem for converted in route.converted() for problem in (*converted.problems, *subsets)]
    if not route.ports:
        found += memo(references, route.kind, route.document, 0, MESH, route.mesh_referents).problems
    resolved = resolved_condition(found)
    return tuple(
        ParentStatus(parent.key, parent.path, (*_taken(route, parent, lost), resolved), parent.section, parent.port)
        for parent in parents
    )


def _taken(route: CompiledRoute, parent: MeshParent, lost: tuple[Lost, ...]) -> tuple[Condition, ...]:
    mine = [one for one in lost if _within(one.path, parent.path)]
    gone = {(one.path, one.host) for one in mine if one.entirely}
    left = [one for one in route.claims.claims if _within(one.path, parent.path) and (one.path, one.host) not in gone]
    refused = [one for one in route.claims.problems if _within(one.path, parent.path)]
    return accepted_conditions(bool(left), [*refused, *(one.problem for one in mine)])


def unresolved(
    route: CompiledRoute, found: Sequence[References], catalog: Catalog, rules: DestinationRules
) -> tuple[Problem, ...]:
    """What is wrong with the references of a route on some ports and sides."""
    problems: dict[Problem, None] = {}
    for one in found:
        problems.update(dict.fromkeys(one.problems))
        bad = [subset_problem(route.document, use, catalog, rules) for use in one.subsets]
        problems.update((problem, None) for problem in bad if problem is not None)
    return tuple(problems)


def accepted_conditions(attached: bool, problems: Iterable[Problem]) -> tuple[Condition, ...]:
    """Whether a parent took a route, from what is wrong between them: `attached` is whether anything of it is in
    force there."""
    for problem in problems:
        if problem.code in _REFUSALS:
            reason = _REFUSALS[problem.code]
            if not attached:
                return (Condition("Accepted", False, reason, problem.message),)
            partly = Condition("PartiallyInvalid", True, reason, problem.message)
            return (Condition("Accepted", True, "Accepted"), partly)
    return (Condition("Accepted", True, "Accepted"),)


def resolved_condition(problems: Iterable[Problem]) -> Condition:
    """The ResolvedRefs condition, from what is wrong with the rules of a route."""
    for problem in problems:
        if problem.code in _REFERENCES:
            return Condition("ResolvedRefs", False, _REFERENCES[problem.code], problem.message)
    return Condition("ResolvedRefs", True, "ResolvedRefs")


def _within(path: FieldPath, parent: FieldPath) -> bool:
    return path[: len(parent)] == parent
