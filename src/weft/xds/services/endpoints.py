"""EDS: the endpoints of one Backend, with their health as callers are told."""

from __future__ import annotations

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from weft.mesh.services.service import Endpoint, EndpointSet, Health
from weft.xds.messages import tcp_address
from weft.xds.resource import encode_resource
from weft.xds.snapshot import Resource

PLAINTEXT_KEY = "plaintext"
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
    assignment = ClusterLoadAssignment(cluster_name=endpoints.backend)
    if endpoints.endpoints:
        assignment.endpoints.append(
            LocalityLbEndpoints(lb_endpoints=[_endpoint(endpoint) for endpoint in endpoints.endpoints])
        )
    return encode_resource(assignment, endpoints.backend)


def _endpoint(endpoint: Endpoint) -> LbEndpoint:
    message = LbEndpoint(
        endpoint=EnvoyEndpoint(address=tcp_address(endpoint.address)), health_status=_HEALTH[endpoint.health]
    )
    if not endpoint.mutual_tls:
        message.metadata.filter_metadata[SOCKET_MATCH].fields[PLAINTEXT_KEY].bool_value = True
    return message
