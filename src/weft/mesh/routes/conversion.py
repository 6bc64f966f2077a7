"""Conversion: rules of route documents for one side, as the callers of one namespace see the services."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import ROUTE, Grants
from weft.mesh.routes.claims import RouteDocument
from weft.mesh.routes.converted import MESH, Converted
from weft.mesh.routes.httproute import backend_references, convert_http_route, parent_services
from weft.mesh.routes.precedence import merge_by_precedence
from weft.mesh.routes.rules import Rule
from weft.mesh.routes.virtualservice import convert_virtual_service, destination_hosts
from weft.mesh.services.hosts import service_host
from weft.mesh.services.targets import Targets
from weft.schema.kinds.virtualservice import VirtualServiceSpec


def convert(memo: Memo, document: RouteDocument, port: int, side: str, targets: Targets, grants: Grants) -> Converted:
    """The rules of one document on a port of a side (``mesh`` or a gateway). Made again only when the document, or
    a service or DestinationRule it uses, changed."""
    namespace = document.key.namespace
    if isinstance(document.spec, VirtualServiceSpec):
        service_document = document
        hosts = memo(destination_hosts, service_document)
        found = tuple([targets.find(host, namespace) for host in hosts])
        return memo(convert_virtual_service, service_document, port, side, found)
    route = document
    names = memo(backend_references, route)
    found = tuple([targets.by_host.get(service_host(name, where)) for name, where in names])
    # A consumer route sends its callers to the very service they asked for: that needs nobody's leave.
    parents = memo(parent_services, route) if side == MESH else ()
    granted = tuple([item in parents or grants.allow(ROUTE, namespace, "Service", item[1], item[0]) for item in names])
    return memo(convert_http_route, route, found, granted)


def joined_rules(memo: Memo, parts: tuple[Converted, ...]) -> tuple[Rule, ...]:
    """The rules of the documents that share a host, in the order they are tried."""
    return parts[0].rules if len(parts) == 1 else memo.over(merge_by_precedence, parts)
