"""Where a resource stands: the side and the port that EnvoyFilter's conditions are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.patches import Context, Patch
from weft.schema.kinds.envoyfilter import ListenerMatch, RouteConfigurationMatch
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES, Resource

_ISTIO_INBOUND = 15006


@dataclass(frozen=True, slots=True)
class Place:
    """`port` is that of the application, the Gateway or the service; 0 where there is none of its own."""

    context: Context
    port: int = 0
    host: str = ""
    subset: str = ""


def place_of(resource: Resource, *, gateway: bool) -> Place:
    """Where a listener, a route configuration or a cluster stands."""
    outside: Context = "GATEWAY" if gateway else "SIDECAR_OUTBOUND"
    parts = resource.name.split("|")
    if parts[0] == "inbound":
        return Place("SIDECAR_INBOUND", _number(parts, 1))
    if resource.type_url == CLUSTER and parts[0] == "outbound" and len(parts) >= 4:
        return Place(outside, _number(parts, 1), parts[3], parts[2])
    if parts[0] == "gateway":
        return Place("GATEWAY", _number(parts, 1))
    if parts[0] == "upstream" and resource.type_url == ROUTES and len(parts) == 3:
        return Place(outside, _number(parts, 1), parts[2])
    return Place(outside)


def _is_listener(said: ListenerMatch, name: str, place: Place) -> bool:
    """Istio has one listener before all ports of applications, and others that are named by address and port."""
    inbound = place.context == "SIDECAR_INBOUND"
    port = None if inbound and said.port_number == _ISTIO_INBOUND else said.port_number
    chain = said.filter_chain.destination_port if said.filter_chain else None
    if port not in (None, place.port) or chain not in (None, place.port):
        return False
    if said.name in (None, name):
        return True
    if said.name == "virtualInbound":
        return inbound
    if said.name == "virtualOutbound":
        return name == "outbound"
    return not inbound and bool(place.port) and said.name == f"0.0.0.0_{place.port}"


def _is_routes(said: RouteConfigurationMatch, name: str, place: Place) -> bool:
    """Istio names route configurations by their port."""
    if said.port_number is not None and place.port not in (0, said.port_number):
        return False
    if said.name in (None, name):
        return True
    port = place.port
    names: Mapping[Context, tuple[str, ...]] = {
        "SIDECAR_INBOUND": (f"inbound|{port}||",),
        "SIDECAR_OUTBOUND": (str(port),),
        "GATEWAY": (f"http.{port}",),
    }
    return bool(port) and said.name in names[place.context]


def _number(parts: list[str], index: int) -> int:
    return int(parts[index]) if len(parts) > index and parts[index].isdigit() else 0


def concerns(patch: Patch, resource: Resource, place: Place, gateway: str) -> bool:
    """Whether a patch may change a resource, by what is said of listeners, route configurations and clusters as a
    whole. `gateway` is ``namespace/name`` of the Gateway that is served."""
    match = patch.match
    if match.context not in ("ANY", place.context):
        return False
    if resource.type_url == LISTENER and match.listener is not None:
        return _is_listener(match.listener, resource.name, place)
    if resource.type_url == ROUTES and match.route_configuration is not None:
        routes = match.route_configuration
        return _is_routes(routes, resource.name, place) and routes.gateway in (None, gateway)
    if resource.type_url == CLUSTER and match.cluster is not None:
        cluster = match.cluster
        return (
            cluster.name in (None, resource.name)
            and cluster.port_number in (None, place.port)
            and cluster.service in (None, place.host)
            and cluster.subset in (None, place.subset)
        )
    return True
