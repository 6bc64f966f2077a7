"""Checks: what is wrong with routes and workloads, found by trying them in their own namespace's eyes."""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.gateways.gateway import Gateways
from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import MeshRoutes, NamespaceRoutes, RouteDocument, decide
from weft.mesh.routes.conversion import convert
from weft.mesh.routes.converted import MESH
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT
from weft.mesh.services.targets import build_targets
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.schema.hosts import covers


def route_problems(
    memo: Memo,
    catalog: Catalog,
    rules: DestinationRules,
    routes: MeshRoutes,
    gateways: Gateways,
    grants: Grants,
) -> tuple[Problem, ...]:
    """What is wrong with the rules of every document in force, as callers of its own namespace have them."""
    found: dict[Problem, None] = {}
    for document, port, side in dict.fromkeys((*_mesh_uses(routes, catalog), *_gateway_uses(gateways))):
        targets = build_targets(memo, catalog, rules, document.key.namespace)
        converted = convert(memo, document, port, side, targets, grants)
        found.update(dict.fromkeys(converted.problems))
    return tuple(found)


def _mesh_uses(routes: MeshRoutes, catalog: Catalog) -> Iterable[tuple[RouteDocument, int, str]]:
    for namespace in routes.namespaces.values():
        for host, claims in namespace.hosts.items():
            for port in _ports(namespace, catalog, host):
                in_force, _ = decide(claim for claim in claims if claim.port in (0, port))
                yield from ((claim.document, port, MESH) for claim in in_force)


def _ports(namespace: NamespaceRoutes, catalog: Catalog, host: str) -> Iterable[int]:
    """The ports of the services that a claimed host stands for, and HTTP's for a host outside."""
    ports = {HTTP_PORT} if host in namespace.outside else set()
    service = catalog.services.get(host)
    if service is not None:
        ports.update(port.number for port in service.ports)
    elif host in namespace.wildcards:
        covered = (item for item in catalog.services.values() if covers(host, item.host))
        ports.update(port.number for item in covered for port in item.ports)
    return sorted(ports)


def _gateway_uses(gateways: Gateways) -> Iterable[tuple[RouteDocument, int, str]]:
    for name, gateway in gateways.by_name.items():
        for port, hosts in gateway.hosts.items():
            for host in hosts:
                yield from ((document, port, name) for document in host.documents)


def workload_problems(workloads: Iterable[Workload], catalog: Catalog, gateways: Gateways) -> Iterable[Problem]:
    """What is wrong with what workloads declare: upstreams, uses, gateways."""
    for workload in workloads:
        if workload.upstreams or workload.uses or workload.gateway is not None:
            yield from _declared(workload, catalog, gateways)


def _declared(workload: Workload, catalog: Catalog, gateways: Gateways) -> Iterable[Problem]:
    for upstream in workload.upstreams:
        service = catalog.find(upstream.service, workload.namespace)
        if service is None:
            message = f"upstream '{upstream.service}:{upstream.port}' names no service, so its port is not open"
            yield _of_workload(workload, "unknown-upstream", message, "the name of a Service")
        elif service.port(upstream.port) is None:
            ports = ", ".join(str(port.number) for port in service.ports)
            message = f"upstream '{upstream.service}' has no port {upstream.port}, so its port is not open"
            yield _of_workload(workload, "unknown-upstream", message, f"one of {ports}")
    for name in workload.uses:
        if catalog.find(name, workload.namespace) is None:
            yield _of_workload(workload, "unknown-use", f"it uses '{name}', which is no service", "a Service's name")
    if workload.gateway is not None and gateway_of(workload) not in gateways.by_name:
        message = f"it serves Gateway {gateway_of(workload)}, which does not exist or is not of this mesh"
        yield _of_workload(workload, "unknown-gateway", message, "a Gateway of class weft")


def gateway_of(workload: Workload) -> str:
    """``namespace/name`` of the Gateway that a gateway workload serves; empty for others."""
    name = workload.gateway.gateway if workload.gateway else ""
    return name if not name or "/" in name else f"{workload.namespace}/{name}"


def _of_workload(workload: Workload, code: str, message: str, expected: str) -> Problem:
    origin = Origin(f"workload {workload.proxy}")
    return Problem(Severity.ERROR, code, message, origin, expected=expected)
