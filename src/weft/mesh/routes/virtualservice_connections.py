"""VirtualService: its tls and tcp rules, which are about connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.mesh.problems import problem_at
from weft.mesh.routes.connections import ConnectionRule, Layer4Route, weighted_target
from weft.mesh.routes.kind import Layer
from weft.mesh.routes.virtualservice_forward import Destinations
from weft.mesh.routes.virtualservice_matches import build_source, in_force
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import DEFAULT_PORTS
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds import virtualservice as api

EFFECT = "; connections sent there are closed"
Match = api.TlsMatchAttributes | api.L4MatchAttributes
_EVERY_CONNECTION = (api.L4MatchAttributes(),)


def layers_of(spec: api.VirtualServiceSpec) -> tuple[Layer, ...]:
    """What a document has rules for."""
    found: tuple[Layer, ...] = ("requests",) if spec.http else ()
    return (*found, "connections") if spec.tls or spec.tcp else found


def outside_connections_of(spec: api.VirtualServiceSpec) -> tuple[tuple[int, bool], ...]:
    """The ports on which a document routes connections to hosts that are no services, and whether these carry TLS:
    those of its matches, and HTTPS' own."""
    found = {(match.port or DEFAULT_PORTS["https"], True) for rule in spec.tls for match in rule.match}
    found |= {(match.port, False) for rule in spec.tcp for match in rule.match if match.port}
    return tuple(sorted(found))


def connection_matches(spec: api.VirtualServiceSpec) -> Iterator[tuple[FieldPath, Match]]:
    """Every match of its tls and tcp rules, with its field."""
    for index, rule in enumerate(spec.tls):
        for place, match in enumerate(rule.match):
            yield ("spec", "tls", index, "match", place), match
    for index, each in enumerate(spec.tcp):
        for place, one in enumerate(each.match):
            yield ("spec", "tcp", index, "match", place), one


def connection_destinations(spec: api.VirtualServiceSpec) -> Iterator[api.Destination]:
    """Every destination of its tls and tcp rules."""
    for route in (*(rule.route for rule in spec.tls), *(rule.route for rule in spec.tcp)):
        yield from (item.destination for item in route)


def connection_rules(destinations: Destinations, side: str, tls: bool | None) -> Iterator[ConnectionRule]:
    """The rules of a document whose matches are for a port and side, in the order in which they are tried. `tls`:
    whether the port carries TLS that nobody opens, None if that is not known."""
    document, port = destinations.document, destinations.port
    namespace = document.key.namespace
    for index, rule in enumerate(document.spec.tls if tls is not False else ()):
        for match in (each for each in rule.match if in_force(each, namespace, port, side)):
            names = () if "*" in match.sni_hosts else match.sni_hosts
            route = _route(destinations, ("spec", "tls", index), rule.route)
            yield ConnectionRule(route, names, build_source(match), True, match.destination_subnets)
    for index, each in enumerate(document.spec.tcp if not tls else ()):
        for one in (found for found in each.match or _EVERY_CONNECTION if in_force(found, namespace, port, side)):
            route = _route(destinations, ("spec", "tcp", index), each.route)
            yield ConnectionRule(route, (), build_source(one), False, one.destination_subnets)


def _route(destinations: Destinations, path: FieldPath, route: Sequence[api.RouteDestination]) -> Layer4Route:
    alone = len(route) == 1
    targets = []
    for place, item in enumerate(route):
        found = destinations.find(item.destination, (*path, "route", place, "destination"))
        frontend, _, _ = destinations.referents[item.destination.host]
        targets.append(weighted_target(found, frontend, 1 if alone else item.weight))
    document = destinations.document
    return Layer4Route(tuple(targets), document.at(*path), document.key)


def tls_port_problems(document: Document[api.VirtualServiceSpec], catalog: Catalog) -> Iterator[Problem]:
    """tls rules of a document none of whose services has a port for them."""
    if not document.spec.tls:
        return
    found = [catalog.find(host, document.key.namespace) for host in document.spec.hosts]
    frontends = [frontend for frontend in found if frontend is not None]
    if len(frontends) == len(found) and not any(port.tls for each in frontends for port in each.ports):
        message = "no port of these services carries TLS, so inside the mesh these rules are never in force"
        expected = "a port whose appProtocol or name says https or tls, or rules under tcp"
        yield problem_at(document, ("spec", "tls"), "no-tls-port", message, expected, severity=Severity.WARNING)
