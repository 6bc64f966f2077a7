"""EDS: the endpoints of one Backend, with their health as callers are told."""

from __future__ import annotations

from envoy.config.core.v3 import health_check_pb2
from envoy.config.core.v3.base_pb2 import Locality as EnvoyLocality
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from weft.mesh.services.service import Endpoint, EndpointGroup, EndpointSet, Health
from weft.model.locality import NOWHERE, Locality
from weft.xds.messages import tcp_address
from weft.xds.resource import encode_resource
from weft.xds.services.names import endpoints_name
from weft.xds.snapshot import Resource

PLAINTEXT_KEY = "plaintext"
FALLBACK_KEY = "fallback"
_WHOLE = 100
SOCKET_MATCH = "envoy.transport_socket_match"
"""Metadata by which a cluster with both kinds chooses the transport socket. Only plaintext endpoints carry it: they are
the exception, and every endpoint's bytes count."""

_HEALTH = {
    Health.HEALTHY: health_check_pb2.UNKNOWN,
    Health.UNHEALTHY: health_check_pb2.UNHEALTHY,
    Health.DRAINING: health_check_pb2.DRAINING,
}


def encode_endpoints(endpoints: EndpointSet) -> Resource:
    """The ClusterLoadAssignment of an EndpointSet. Without endpoints it says so, which answers 503 at once."""
    name = endpoints_name(endpoints.backend)
    assignment = ClusterLoadAssignment(cluster_name=name)
    groups = endpoints.groups or groups_of(endpoints.endpoints)
    assignment.endpoints.extend(by_locality(groups))
    if endpoints.fallbacks:
        _add_fallbacks(assignment, endpoints, groups)
    return encode_resource(assignment, name)


def _add_fallbacks(
    assignment: ClusterLoadAssignment, endpoints: EndpointSet, groups: tuple[EndpointGroup, ...]
) -> None:
    """Those who stand in come last, in their order. Each says whose it is, which is how it has to prove itself, and is
    not checked in the way of the others. Envoy gives a priority as many percent of the calls as of its endpoints are
    healthy, times a factor, which is chosen such that all of them go to the last healthy one."""
    priority = 1 + max([group.priority for group in groups], default=-1)
    weighted = any(group.weight for group in groups)
    for number, others in enumerate(endpoints.fallbacks):
        if not others:
            continue
        message = _group(EndpointGroup(NOWHERE, others, priority, 1 if weighted else 0), marked=True)
        for each in message.lb_endpoints:
            each.metadata.filter_metadata[SOCKET_MATCH].fields[FALLBACK_KEY].number_value = number
            each.endpoint.health_check_config.disable_active_health_check = True
        assignment.endpoints.append(message)
        priority += 1
    below = _WHOLE * _WHOLE // endpoints.below if endpoints.below else _WHOLE * max(len(endpoints.endpoints), 1)
    assignment.policy.overprovisioning_factor.value = max(below, _WHOLE)


def groups_of(endpoints: tuple[Endpoint, ...]) -> tuple[EndpointGroup, ...]:
    """One group for each locality, in order of their names. Without localities there is one, of nowhere."""
    places: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        places.setdefault(endpoint.locality, []).append(endpoint)
    return tuple([EndpointGroup(place, tuple(places[place])) for place in sorted(places)])


def by_locality(groups: tuple[EndpointGroup, ...], *, marked: bool = True) -> list[LocalityLbEndpoints]:
    """Groups of endpoints in Envoy's words. `marked`: those in plaintext say so."""
    return [_group(group, marked) for group in groups]


def _group(group: EndpointGroup, marked: bool) -> LocalityLbEndpoints:
    message = LocalityLbEndpoints(
        lb_endpoints=[_endpoint(endpoint, marked) for endpoint in group.endpoints], priority=group.priority
    )
    place = group.locality
    if place != NOWHERE:
        message.locality.CopyFrom(EnvoyLocality(region=place.region, zone=place.zone, sub_zone=place.subzone))
    if group.weight:
        message.load_balancing_weight.value = group.weight
    return message


def _endpoint(endpoint: Endpoint, marked: bool) -> LbEndpoint:
    message = LbEndpoint(
        endpoint=EnvoyEndpoint(address=tcp_address(endpoint.address)), health_status=_HEALTH[endpoint.health]
    )
    if marked and not endpoint.mutual_tls:
        message.metadata.filter_metadata[SOCKET_MATCH].fields[PLAINTEXT_KEY].bool_value = True
    if endpoint.health_port:
        message.endpoint.health_check_config.port_value = endpoint.health_port
    if endpoint.weight != 1:
        message.load_balancing_weight.value = endpoint.weight
    return message
