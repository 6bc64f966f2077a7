"""Compiled routes: what one route document comes to, made once and the same for every caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import TrafficDefaults, with_defaults
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.access_logs import with_access_log
from weft.mesh.routes.claims import carries
from weft.mesh.routes.hedging import hedging_problems, with_hedging
from weft.mesh.routes.kind import (
    MESH,
    Claim,
    Claims,
    ConnectionRules,
    Converted,
    Layer,
    ParentRef,
    Referent,
    RouteDocument,
    RouteKind,
    SubsetUse,
)
from weft.mesh.routes.kinds import kind_of
from weft.mesh.routes.reach import Attempt, unreachable_problems
from weft.mesh.routes.rules import Rule
from weft.mesh.routes.trace_sampling import with_trace_sampling
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.exports import ALL_NAMESPACES, Exports
from weft.mesh.services.hosts import HTTP_PORT
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, is_wildcard


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """A route document with its rules for sidecars, by service port: those for requests (`rules`) and those for
    `connections`, and what gateways need of it. `referents` are those of the gateway side, `mesh_referents` those of
    the mesh side, `subsets` (service, subset) what any of its rules sends to, `unreachable` a warning for each of its
    rules that others of its own hide, `layers` what it has rules for, `exports` whose callers it is for. Compared by
    identity."""

    document: RouteDocument
    kind: RouteKind[Any]
    claims: Claims
    rules: Mapping[int, Converted]
    connections: Mapping[int, ConnectionRules]
    parents: tuple[ParentRef, ...]
    referents: tuple[Referent, ...]
    mesh_referents: tuple[Referent, ...]
    selectors: tuple[Labels, ...]
    subsets: tuple[tuple[str, str], ...]
    defaults: TrafficDefaults
    unreachable: tuple[Problem, ...]
    layers: tuple[Layer, ...]
    exports: Exports = ALL_NAMESPACES

    @property
    def ports(self) -> frozenset[int]:
        """The service ports on which it has rules of any kind."""
        return frozenset(self.rules) | frozenset(self.connections)

    def converted(self) -> tuple[Converted | ConnectionRules, ...]:
        """All its rules for sidecars, port by port."""
        return (*self.rules.values(), *self.connections.values())

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
    layers = kind.layers(document)
    carried = _connection_ports(kind, document, claims, catalog) if "connections" in layers else {}
    return CompiledRoute(
        document=document,
        kind=kind,
        claims=claims,
        rules=MappingProxyType(
            {port: memo(_rules, kind, document, port, MESH, referents, defaults) for port in ports}
            if "requests" in layers
            else {}
        ),
        connections=MappingProxyType(
            {port: memo(_connections, kind, document, port, MESH, tls, referents) for port, tls in carried.items()}
        ),
        parents=kind.parents(document, catalog),
        referents=kind.referents(document, "", catalog, grants),
        mesh_referents=referents,
        selectors=kind.selectors(document),
        subsets=kind.subsets(document, referents),
        defaults=defaults,
        unreachable=memo(_unreachable, kind, document),
        layers=layers,
        exports=kind.exports(document, defaults.exports),
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
    carried = kind.connections(document, port, side, None, referents)
    return References((*converted.problems, *carried.problems), (*converted.subsets, *carried.subsets))


def gateway_rules(memo: Memo, route: CompiledRoute, port: int, gateway: str) -> Converted:
    """The rules of a route on a port of a Gateway (``namespace/name``)."""
    return memo(_rules, route.kind, route.document, port, gateway, route.referents, route.defaults)


def gateway_connections(memo: Memo, route: CompiledRoute, port: int, gateway: str, tls: bool) -> ConnectionRules:
    """The rules for connections of a route on a port of a Gateway (``namespace/name``); `tls`: it passes TLS on
    unopened."""
    return memo(_connections, route.kind, route.document, port, gateway, tls, route.referents)


def _connections(
    kind: RouteKind[Any],
    document: RouteDocument,
    port: int,
    side: str,
    tls: bool | None,
    referents: tuple[Referent, ...],
) -> ConnectionRules:
    return kind.connections(document, port, side, tls, referents)


def _rules(
    kind: RouteKind[Any],
    document: RouteDocument,
    port: int,
    side: str,
    referents: tuple[Referent, ...],
    defaults: TrafficDefaults,
) -> Converted:
    converted = kind.rules(document, port, side, referents)
    rules = [with_defaults(rule, defaults) for rule in converted.rules]
    rules = [with_trace_sampling(with_access_log(rule, document), document) for rule in rules]
    rules = [with_hedging(rule, document) for rule in rules]
    problems = hedging_problems(rules, document)
    return replace(converted, rules=tuple(rules), problems=(*converted.problems, *problems))


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


def _connection_ports(
    kind: RouteKind[Any], document: RouteDocument, claims: Claims, catalog: Catalog
) -> dict[int, bool | None]:
    """The ports on which rules for connections can be in force, and whether they carry TLS that nobody opens (None:
    some do). A service's HTTP ports have no such rules."""
    found: dict[int, bool | None] = {}
    for claim in claims.claims:
        frontend = catalog.by_host.get(claim.host)
        if frontend is None and not is_wildcard(claim.host):
            outside: Iterable[tuple[int, bool]] = kind.outside_connections(document)
        else:
            meant = (frontend,) if frontend else (each for each in catalog.frontends if covers(claim.host, each.host))
            ports = (port for each in meant for port in each.ports if carries(port, "connections"))
            outside = ((port.number, port.tls) for port in ports if claim.port in (0, port.number))
        for number, tls in outside:
            found[number] = tls if found.get(number, tls) is tls else None
    return dict(sorted(found.items()))
