"""Ownership: which documents route a host, where several want it.

The oldest document owns the host, then the first by namespace and name. Inside the mesh one of an exclusive kind owns
it alone; at a gateway it shares it with others of its kind. Those that are not exclusive share it with their own kind:
inside the mesh the most specific kind has it (GEP-1426), at a listener the one whose route is the oldest among those
with overlapping hosts (Gateway API, GRPCRoute). The rules of all that share a host merge. Of kinds whose documents
nothing tells apart the oldest document has it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.problems import problem_at
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.precedence import owner_order
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.hosts import intersection

Contender = tuple[CompiledRoute, FieldPath]
"""A route, and the field by which it wants a host."""
Refused = Mapping[ObjectKey, Contender]
"""Routes that are not taken, each with the one that is taken instead."""
_NOBODY: Refused = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Lost:
    """A host that a route wants, by its field `path`, and another one has: at `where` (a Gateway's listener, empty for
    the mesh side). `entirely`: on every port. `behind`: one of its own kind is before it at the listener, to which it
    stays attached all the same (GEP-2644, GEP-2645)."""

    route: ObjectKey
    path: FieldPath
    host: str
    problem: Problem
    where: tuple[str, str] = ("", "")
    entirely: bool = True
    behind: bool = False


def decide(
    contenders: Iterable[Contender], *, at_gateway: bool, refused: Refused = _NOBODY
) -> tuple[tuple[Contender, ...], tuple[Contender, ...]]:
    """Who has a host and who does not get it, in order of precedence. Those `refused` are among the latter."""
    everybody = sorted(contenders, key=lambda one: owner_order(one[0].document))
    ordered = [one for one in everybody if one[0].document.key not in refused]
    out = tuple(one for one in everybody if one[0].document.key in refused)
    if not ordered:
        return (), out
    first = ordered[0][0]
    if not first.kind.exclusive:
        best = max(route.kind.specificity for route, _ in ordered if not route.kind.exclusive)
        wins = [not route.kind.exclusive and route.kind.specificity == best for route, _ in ordered]
        kind = ordered[wins.index(True)][0].kind
        if kind.alone_at_gateways if at_gateway else kind.alone_in_mesh:
            wins = [place == wins.index(True) for place in range(len(ordered))]
    elif at_gateway:
        wins = [route.kind is first.kind for route, _ in ordered]
    else:
        wins = [route is first for route, _ in ordered]
    pairs = list(zip(ordered, wins, strict=True))
    return tuple(one for one, won in pairs if won), (*out, *(one for one, won in pairs if not won))


def crossing(wanted: Iterable[tuple[str, Contender]]) -> Refused:
    """The routes that one listener does not take, each with the one it has instead: of two kinds whose rules never
    merge, the older of two routes with overlapping hosts is taken. `wanted` are the listener's hosts, each with a route
    that wants it."""
    hosts: dict[ObjectKey, list[tuple[str, Contender]]] = {}
    for host, contender in wanted:
        if not contender[0].kind.exclusive:
            hosts.setdefault(contender[0].document.key, []).append((host, contender))
    if len({found[0][1][0].kind.kind for found in hosts.values()}) < 2:
        return {}
    taken: list[tuple[str, Contender]] = []
    refused: dict[ObjectKey, Contender] = {}
    for key, found in sorted(hosts.items(), key=lambda item: owner_order(item[1][0][1][0].document)):
        kind = found[0][1][0].kind
        others = [(host, other) for host, other in taken if other[0].kind is not kind]
        by = next((other for host, other in others for own, _ in found if intersection(host, own)), None)
        if by is None:
            taken += found
        else:
            refused[key] = by
    return refused


def routes_of(contenders: Iterable[Contender]) -> tuple[CompiledRoute, ...]:
    """The routes of contenders, each once."""
    return tuple({id(route): route for route, _ in contenders}.values())


def conflict(loser: Contender, winner: Contender, host: str) -> Problem:
    """The Problem of a document that does not get a host."""
    route, path = loser
    owner = winner[0].document
    if not route.kind.exclusive and not winner[0].kind.exclusive:
        return problem_at(
            route.document,
            path,
            "kind-conflict",
            f"{owner.key} ({owner.origin}) already routes '{host}', and its rules do not merge with those of a "
            f"{route.kind.kind}, so this document is not in force for it",
            "one kind of route for one host",
        )
    return problem_at(
        route.document,
        path,
        "host-conflict",
        f"{owner.key} ({owner.origin}) is older or first by name and already routes '{host}', "
        "so this document is not in force for it",
        "a host that no other document routes, or the rules joined in one document",
    )
