"""Ownership: which documents route a host, where several want it.

The oldest document owns the host, then the first by namespace and name. Inside the mesh one of an exclusive kind owns
it alone; at a gateway it shares it with others of its kind. Those that are not exclusive share it everywhere. The rules
of all that share a host merge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.problems import problem_at
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.precedence import owner_order
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem

Contender = tuple[CompiledRoute, FieldPath]
"""A route, and the field by which it wants a host."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A host that a route wants, by its field `path`, and another one has: at `where` (a Gateway's listener, empty for
    the mesh side). `entirely`: on every port."""

    route: ObjectKey
    path: FieldPath
    host: str
    problem: Problem
    where: tuple[str, str] = ("", "")
    entirely: bool = True


def decide(contenders: Iterable[Contender], *, at_gateway: bool) -> tuple[tuple[Contender, ...], tuple[Contender, ...]]:
    """Who has a host and who does not get it, in order of precedence."""
    ordered = sorted(contenders, key=lambda one: owner_order(one[0].document))
    if not ordered:
        return (), ()
    first = ordered[0][0]
    if not first.kind.exclusive:
        wins = [not route.kind.exclusive for route, _ in ordered]
    elif at_gateway:
        wins = [route.kind is first.kind for route, _ in ordered]
    else:
        wins = [route is first for route, _ in ordered]
    pairs = list(zip(ordered, wins, strict=True))
    return tuple(one for one, won in pairs if won), tuple(one for one, won in pairs if not won)


def routes_of(contenders: Iterable[Contender]) -> tuple[CompiledRoute, ...]:
    """The routes of contenders, each once."""
    return tuple({id(route): route for route, _ in contenders}.values())


def conflict(loser: Contender, winner: Contender, host: str) -> Problem:
    """The Problem of a document that does not get a host."""
    route, path = loser
    owner = winner[0].document
    return problem_at(
        route.document,
        path,
        "host-conflict",
        f"{owner.key} ({owner.origin}) is older or first by name and already routes '{host}', "
        "so this document is not in force for it",
        "a host that no other document routes, or the rules joined in one document",
    )
