"""Patches of route configurations, virtual hosts and routes."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from weft.mesh.patches import Patch
from weft.schema.kinds.envoyfilter import RouteMatch, VirtualHostMatch
from weft.xds.patches.lists import change_list
from weft.xds.patches.messages import BadValueError, merged, message_from_json

_ACTIONS = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}


def patch_routes(patch: Patch, routes: RouteConfiguration) -> bool:
    """Change a route configuration in place; whether anything changed."""
    said = patch.match.route_configuration
    host, port = said.vhost if said else None, (said.port_number if said else None) or 0
    if patch.applies_to == "ROUTE_CONFIGURATION":
        change = message_from_json(patch.value, RouteConfiguration())
        if change.name:
            raise BadValueError("RouteConfiguration: its name is the mesh's")
        merged(routes, change)
        return True
    if patch.applies_to == "VIRTUAL_HOST":
        return change_list(patch, routes.virtual_hosts, VirtualHost, lambda each: _is_meant(host, each, port))
    inner = host.route if host else None
    changed = False
    for each in routes.virtual_hosts:
        if _is_meant(host, each, port):
            changed |= change_list(patch, each.routes, Route, lambda route: _is_meant_route(inner, route))
    return changed


def _is_meant(said: VirtualHostMatch | None, host: VirtualHost, port: int) -> bool:
    """Where one route configuration is for all ports, a virtual host says which it is for."""
    _, _, number = host.name.rpartition(":")
    if port and number.isdigit() and int(number) != port:
        return False
    if said is None:
        return True
    istio = host.name.replace("inbound|", "inbound|http|", 1) if host.name.startswith("inbound|") else host.name
    return said.name in (None, host.name, istio) and (said.domain_name is None or said.domain_name in host.domains)


def _is_meant_route(said: RouteMatch | None, route: Route) -> bool:
    if said is None:
        return True
    wanted = _ACTIONS.get(said.action)
    return said.name in (None, route.name) and wanted in (None, route.WhichOneof("action"))
