"""Claims: which documents route a host, on the mesh side and on gateways, and which one wins where they collide.

The oldest document owns the host, then the first by namespace and name. A VirtualService owns it alone; HTTPRoutes
share it and their rules merge. On the mesh side a namespace's documents concern everybody's calls to its own services,
and only its own callers' calls to anything else: for these callers they take the place of the service's own documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.routes.converted import MESH, trouble
from weft.mesh.routes.precedence import owner_order
from weft.mesh.routes.virtualservice import claimed_sides
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT, SERVICE_SUFFIX, best_match
from weft.mesh.services.service import Protocol, Service
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import PathPart
from weft.model.problem import Problem, Severity
from weft.schema.hosts import is_wildcard
from weft.schema.kinds.httproute import HttpRouteSpec, ParentReference
from weft.schema.kinds.virtualservice import VirtualServiceSpec

_HTTP_PORT_WANTED = "a port whose appProtocol or name says http"
RouteDocument = Document[VirtualServiceSpec] | Document[HttpRouteSpec]


@dataclass(frozen=True, slots=True)
class Claim:
    """A document's wish to route a host on a port (0: all of them), made at field `path`."""

    document: RouteDocument
    port: int
    path: tuple[PathPart, ...]

    @property
    def exclusive(self) -> bool:
        """Whether it shares the host with nobody."""
        return isinstance(self.document.spec, VirtualServiceSpec)


def decide(claims: Iterable[Claim]) -> tuple[tuple[Claim, ...], tuple[Claim, ...]]:
    """The claims in force and those that lost, in order of precedence; each document counts once."""
    by_document: dict[int, Claim] = {}
    for claim in claims:
        by_document.setdefault(id(claim.document), claim)
    ordered = sorted(by_document.values(), key=lambda claim: owner_order(claim.document))
    if not ordered:
        return (), ()
    if ordered[0].exclusive:
        return (ordered[0],), tuple(ordered[1:])
    return tuple(c for c in ordered if not c.exclusive), tuple(c for c in ordered if c.exclusive)


def conflict(loser: Claim, winner: Claim, host: str) -> Problem:
    """The Problem of a document that does not get a host."""
    return trouble(
        loser.document,
        loser.path,
        "host-conflict",
        f"{winner.document.key} ({winner.document.origin}) is older or first by name and already routes '{host}', "
        "so this document is not in force for it",
        "a host that no other document routes, or the rules joined in one document",
    )


@dataclass(frozen=True, slots=True, eq=False)
class NamespaceRoutes:
    """The mesh-side claims of one namespace's documents, by host: full names, wildcards, or hosts outside."""

    hosts: Mapping[str, tuple[Claim, ...]]
    wildcards: tuple[str, ...]
    outside: tuple[str, ...]

    def named(self, host: str, port: int) -> tuple[RouteDocument, ...]:
        """The documents in force that name the host itself."""
        return _winners(claim for claim in self.hosts.get(host, ()) if claim.port in (0, port))

    def covering(self, host: str) -> tuple[RouteDocument, ...]:
        """The documents in force on the longest wildcard that covers the host."""
        pattern = best_match(self.wildcards, host) if self.wildcards else None
        return _winners(self.hosts[pattern]) if pattern is not None else ()


def _winners(claims: Iterable[Claim]) -> tuple[RouteDocument, ...]:
    return tuple(claim.document for claim in decide(claims)[0])


@dataclass(frozen=True, slots=True, eq=False)
class MeshRoutes:
    """The route documents of the mesh side, by their namespace. `selectors` are the source labels any of them asks
    for, sorted."""

    namespaces: Mapping[str, NamespaceRoutes]
    selectors: tuple[Labels, ...] = ()
    problems: tuple[Problem, ...] = ()

    def documents(self, caller: str, service: Service, port: int) -> tuple[RouteDocument, ...]:
        """The documents in force for callers in namespace `caller` on a port of a service: those that name it before
        wildcards, and the caller's before the service's."""
        spaces = [
            self.namespaces[name] for name in dict.fromkeys((caller, service.namespace)) if name in self.namespaces
        ]
        named = (routes.named(service.host, port) for routes in spaces)
        covering = (routes.covering(service.host) for routes in spaces)
        return next((found for found in (*named, *covering) if found), ())


def build_mesh_routes(documents: tuple[RouteDocument, ...], catalog: Catalog) -> MeshRoutes:
    """The mesh-side claims of all VirtualServices and HTTPRoutes."""
    found: dict[str, dict[str, list[Claim]]] = {}
    problems: list[Problem] = []
    for document in documents:
        for host, claim in _mesh_claims(document, catalog, problems):
            found.setdefault(document.key.namespace, {}).setdefault(host, []).append(claim)
    namespaces = {}
    for namespace, hosts in found.items():
        routes = NamespaceRoutes(
            hosts=MappingProxyType({host: tuple(claims) for host, claims in hosts.items()}),
            wildcards=tuple(host for host in hosts if is_wildcard(host)),
            outside=tuple(sorted(host for host in hosts if host != "*" and host not in catalog.services)),
        )
        namespaces[namespace] = routes
        problems += _conflicts(routes, catalog)
    return MeshRoutes(MappingProxyType(namespaces), _selectors(documents), tuple(dict.fromkeys(problems)))


def _selectors(documents: tuple[RouteDocument, ...]) -> tuple[Labels, ...]:
    found: set[Labels] = set()
    for document in documents:
        if isinstance(document.spec, VirtualServiceSpec):
            matches = [match for http in document.spec.http for match in http.match]
            found.update(labels_from_mapping(match.source_labels) for match in matches if match.source_labels)
    return tuple(sorted(found))


def _conflicts(routes: NamespaceRoutes, catalog: Catalog) -> Iterable[Problem]:
    for host, claims in routes.hosts.items():
        service = catalog.services.get(host)
        numbers = [port.number for port in service.ports] if service else [HTTP_PORT]
        for number in numbers:
            winners, losers = decide(claim for claim in claims if claim.port in (0, number))
            yield from (conflict(loser, winners[0], host) for loser in losers)


def _mesh_claims(document: RouteDocument, catalog: Catalog, problems: list[Problem]) -> Iterable[tuple[str, Claim]]:
    namespace = document.key.namespace
    if isinstance(document.spec, VirtualServiceSpec):
        if MESH in claimed_sides(document.spec, namespace):
            for index, host in enumerate(document.spec.hosts):
                path: tuple[PathPart, ...] = ("spec", "hosts", index)
                name = catalog.full_name(host, namespace)
                if _may_route(document, path, name, catalog, problems):
                    yield name, Claim(document, 0, path)
        return
    parents = [(index, item) for index, item in enumerate(document.spec.parent_refs) if item.kind == "Service"]
    if parents and document.spec.hostnames:
        problems.append(
            trouble(
                document,
                ("spec", "hostnames"),
                "hostnames-ignored",
                "hostnames have no meaning for a Service parent and are ignored there",
                "no hostnames",
                severity=Severity.WARNING,
            )
        )
    for index, parent in parents:
        service = catalog.named(parent.name, parent.namespace or namespace)
        bad = _parent_problem(document, index, parent, service)
        if bad is not None:
            problems.append(bad)
        elif service is not None:
            path = ("spec", "parentRefs", index)
            if _may_route(document, path, service.host, catalog, problems):
                yield service.host, Claim(document, parent.port or 0, path)


def _may_route(
    document: RouteDocument, path: tuple[PathPart, ...], host: str, catalog: Catalog, problems: list[Problem]
) -> bool:
    """Whether HTTP rules for `host` can be in force: it is no service's name without a service, nor one of TCP only."""
    service = catalog.services.get(host)
    if service is None:
        dangling = host.endswith(SERVICE_SUFFIX) and not is_wildcard(host)
        if dangling:
            message = f"no service is called '{host}', so these rules route nothing for it"
            expected = "the name of a Service"
            problems.append(trouble(document, path, "unknown-host", message, expected, severity=Severity.WARNING))
        return not dangling
    if service.ports and all(port.protocol is Protocol.TCP for port in service.ports):
        message = f"every port of '{host}' carries TCP, which has no HTTP rules"
        problems.append(trouble(document, path, "not-http", message, _HTTP_PORT_WANTED))
        return False
    return True


def _parent_problem(
    document: RouteDocument, index: int, parent: ParentReference, service: Service | None
) -> Problem | None:
    path: tuple[PathPart, ...] = ("spec", "parentRefs", index)
    what = f"Service {parent.namespace or document.key.namespace}/{parent.name}"
    if service is None:
        return trouble(document, (*path, "name"), "unknown-service", f"there is no {what}", "the name of a Service")
    port = service.port(parent.port) if parent.port else None
    if parent.port and port is None:
        numbers = ", ".join(str(item.number) for item in service.ports)
        return trouble(
            document, (*path, "port"), "unknown-port", f"{what} has no port {parent.port}", f"one of {numbers}"
        )
    if port is not None and port.protocol is Protocol.TCP:
        return trouble(
            document,
            (*path, "port"),
            "not-http",
            f"port {parent.port} of {what} carries TCP, which has no HTTP rules",
            _HTTP_PORT_WANTED,
        )
    return None
