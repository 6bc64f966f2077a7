"""Compiled routes: what one route document comes to, made once and the same for every caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import TrafficDefaults, with_default_retry
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.kind import (
    MESH,
    Claim,
    Claims,
    Converted,
    ParentRef,
    Referent,
    RouteDocument,
    RouteKind,
    SubsetUse,
)
from weft.mesh.routes.kinds import kind_of
from weft.mesh.routes.reach import Attempt, unreachable_problems
from weft.mesh.routes.rules import Rule
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, is_wildcard


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """A route document with its rules for sidecars, by service port, and what gateways need of it. `referents` are
    those of the gateway side, `mesh_referents` those of the mesh side, `subsets` (service, subset) what any of its
    rules sends to, `unreachable` a warning for each of its rules that others of its own hide. Compared by identity."""

    document: RouteDocument
    kind: RouteKind[Any]
    claims: Claims
    rules: Mapping[int, Converted]
    parents: tuple[ParentRef, ...]
    referents: tuple[Referent, ...]
    mesh_referents: tuple[Referent, ...]
    selectors: tuple[Labels, ...]
    subsets: tuple[tuple[str, str], ...]
    defaults: TrafficDefaults
    unreachable: tuple[Problem, ...]

    def claims_of(self, host: str) -> tuple[Claim, ...]:
        """Its claims of one host."""
        return tuple(claim for claim in self.claims.claims if claim.host == host)


def compile_route(
    memo: Memo, document: RouteDocument, catalog: Catalog, grants: Grants, defaults: TrafficDefaults
) -> CompiledRoute:
    """A route document, compiled. Its rules stay the same objects while it and the services it names do."""
    kind = kind_of(document)
    claims = kind.claims(document, catalog)
    referents = kind.referents(document, MESH, catalog, grants)
    ports = sorted({port for claim in claims.claims for port in _ports(claim, catalog)})
    return CompiledRoute(
        document=document,
        kind=kind,
        claims=claims,
        rules=MappingProxyType({port: memo(_rules, kind, document, port, MESH, referents, defaults) for port in ports}),
        parents=kind.parents(document, catalog),
        referents=kind.referents(document, "", catalog, grants),
        mesh_referents=referents,
        selectors=kind.selectors(document),
        subsets=kind.subsets(document, referents),
        defaults=defaults,
        unreachable=memo(_unreachable, kind, document),
    )


def _unreachable(kind: RouteKind[Any], document: RouteDocument) -> tuple[Problem, ...]:
    return unreachable_problems(kind.attempts(document))


def attempt_of(routes: Mapping[ObjectKey, CompiledRoute], rule: Rule) -> Attempt:
    """A rule of one of these routes as it is tried in a list of rules."""
    if rule.object is None:
        raise ValueError(f"rule {rule.name} is of no document")
    route = routes[rule.object]
    fields = route.kind.fields(route.document, rule.index, rule.place)
    return Attempt(route.document, *fields, rule.match, rule.source)


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What is wrong with the rules of a route on one port and side, and the subsets they send to."""

    problems: tuple[Problem, ...]
    subsets: tuple[SubsetUse, ...]


def references(
    kind: RouteKind[Any], document: RouteDocument, port: int, side: str, referents: tuple[Referent, ...]
) -> References:
    """What the rules of a document refer to on a port (0: on any) of a side."""
    converted = kind.rules(document, port, side, referents)
    return References(converted.problems, converted.subsets)


def gateway_rules(memo: Memo, route: CompiledRoute, port: int, gateway: str) -> Converted:
    """The rules of a route on a port of a Gateway (``namespace/name``)."""
    return memo(_rules, route.kind, route.document, port, gateway, route.referents, route.defaults)


def _rules(
    kind: RouteKind[Any],
    document: RouteDocument,
    port: int,
    side: str,
    referents: tuple[Referent, ...],
    defaults: TrafficDefaults,
) -> Converted:
    converted = kind.rules(document, port, side, referents)
    return replace(converted, rules=tuple(with_default_retry(rule, defaults) for rule in converted.rules))


def _ports(claim: Claim, catalog: Catalog) -> set[int]:
    """The ports on which a claim can be in force: those of the services it is for, HTTP's for a host outside."""
    if claim.port:
        return {claim.port}
    frontend = catalog.by_host.get(claim.host)
    if frontend is not None:
        return {port.number for port in frontend.ports}
    if not is_wildcard(claim.host):
        return {HTTP_PORT}
    covered = {port.number for each in catalog.frontends if covers(claim.host, each.host) for port in each.ports}
    return covered if claim.host == "*" else {HTTP_PORT, *covered}
