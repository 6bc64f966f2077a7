"""CDS: a Backend as a cluster, and the clusters of the proxy itself (application, CONNECT tunnel, unknown hosts)."""

from __future__ import annotations

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import Address, EnvoyInternalAddress, TcpKeepalive
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.services.service import Backend, ConnectionLimits, MutualTls, Plaintext, Protocol, Transport
from weft.mesh.views import InboundPort
from weft.model.workload import SocketAddress
from weft.xds.filters.forward_proxy import dns_cache
from weft.xds.limits import (
    CONNECT_SECONDS,
    HTTP1_IDLE_SECONDS,
    HTTP2_IDLE_SECONDS,
    MAX_CONNECTIONS,
    MAX_OUTSIDE_CONNECTIONS,
    MAX_OUTSIDE_REQUESTS,
    MAX_REQUESTS,
    MAX_RETRIES,
    MESH,
)
from weft.xds.messages import duration, packed, provenance, tcp_address
from weft.xds.policies.balancing import set_avoidance, set_balancing, set_ejection
from weft.xds.policies.connections import http_idle
from weft.xds.policies.tls import ALPN_HTTP2, ALPN_TCP, ads_source, mesh_client_socket, plaintext_socket
from weft.xds.resource import encode_resource
from weft.xds.services.endpoints import PLAINTEXT_KEY
from weft.xds.services.names import cluster_name, inbound_cluster_name, tcp_variant_name
from weft.xds.services.protocol_options import CLUSTER_EXTENSION, client_options
from weft.xds.snapshot import ENDPOINTS, Resource

HTTP_TUNNEL = "http-tunnel"
"""The internal listener into which CONNECT to an HTTP host is led, and the cluster that leads there."""
FORWARD_PROXY = "forward-proxy"
"""The cluster for hosts that no document names, resolved by DNS per request."""


def encode_backend(backend: Backend, trust_domain: str, as_tcp: bool = False) -> Resource:
    """The cluster of a Backend. `as_tcp` gives the TCP variant of an AUTO one."""
    tcp = as_tcp or backend.protocol is Protocol.TCP
    service = cluster_name(backend.key)
    name = tcp_variant_name(backend.key) if as_tcp else service
    limits = backend.policy.limits
    cluster = _cluster(name, limits)
    cluster.metadata.CopyFrom(provenance(str(backend.object)))
    requires: tuple[tuple[str, str], ...] = ()
    if backend.address:
        cluster.cluster_type.name = "envoy.clusters.dns"
        cluster.cluster_type.typed_config.CopyFrom(
            packed(DnsCluster(respect_dns_ttl=True, all_addresses_in_single_endpoint=True))
        )
        cluster.load_assignment.CopyFrom(_static(name, tcp_address(SocketAddress(backend.address, backend.key.port))))
    else:
        requires = ((ENDPOINTS, service),)
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
        if as_tcp:
            cluster.eds_cluster_config.service_name = service
    set_balancing(cluster, backend.policy.balancing)
    if backend.policy.ejection is not None:
        set_ejection(cluster, backend.policy.ejection)
    elif not backend.address:
        set_avoidance(cluster)
    if not tcp:
        protected = not isinstance(backend.transport, Plaintext)
        http2 = not backend.address and (protected or backend.protocol is Protocol.HTTP2)
        cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
            client_options(
                http2=http2,
                upgrades=backend.protocol is not Protocol.HTTP2,
                keepalive=True,
                idle=http_idle(limits, HTTP2_IDLE_SECONDS if http2 else HTTP1_IDLE_SECONDS),
                longest=limits.max_connection_duration,
                max_requests_per_connection=limits.max_requests_per_connection,
                max_concurrent_streams=limits.max_concurrent_streams,
            )
        )
    _set_transport(cluster, backend.transport, trust_domain, ALPN_TCP if tcp else ALPN_HTTP2)
    return encode_resource(cluster, name, backend.origins, requires)


def encode_application(port: InboundPort) -> Resource:
    """The cluster that leads to the application behind the proxy, on its own host and in plaintext."""
    name = inbound_cluster_name(port.port)
    cluster = _cluster(name, ConnectionLimits())
    cluster.type = Cluster.STATIC
    cluster.load_assignment.CopyFrom(_static(name, tcp_address(port.application)))
    if port.protocol is not Protocol.TCP:
        http2 = port.protocol is Protocol.HTTP2
        cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
            client_options(http2=http2, upgrades=False, keepalive=False, idle=HTTP1_IDLE_SECONDS)
        )
    return encode_resource(cluster, name, port.origins)


def encode_http_tunnel() -> Resource:
    """From a terminated CONNECT into the internal listener that routes what is inside as HTTP."""
    cluster = _cluster(HTTP_TUNNEL, ConnectionLimits())
    cluster.type = Cluster.STATIC
    address = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=HTTP_TUNNEL))
    cluster.load_assignment.CopyFrom(_static(HTTP_TUNNEL, address))
    return encode_resource(cluster, HTTP_TUNNEL)


def encode_forward_proxy(connect_timeout: float | None = None) -> Resource:
    """To whatever host the request names, for meshes that allow any. `connect_timeout` is the mesh's default."""
    limits = ConnectionLimits(
        connect_timeout=connect_timeout,
        max_connections=MAX_OUTSIDE_CONNECTIONS,
        max_pending_requests=MAX_OUTSIDE_CONNECTIONS,
        max_requests=MAX_OUTSIDE_REQUESTS,
    )
    cluster = _cluster(FORWARD_PROXY, limits)
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    cluster.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
    cluster.cluster_type.typed_config.CopyFrom(packed(ClusterConfig(dns_cache_config=dns_cache())))
    cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
        client_options(http2=False, upgrades=False, keepalive=False, idle=HTTP1_IDLE_SECONDS, any_host=True)
    )
    return encode_resource(cluster, FORWARD_PROXY)


def _cluster(name: str, limits: ConnectionLimits) -> Cluster:
    """What all clusters have in common: time to connect, buffers, circuit breakers, no panic routing."""
    cluster = Cluster(
        name=name,
        connect_timeout=duration(limits.connect_timeout or CONNECT_SECONDS),
        per_connection_buffer_limit_bytes=UInt32Value(value=MESH.buffer),
    )
    cluster.common_lb_config.healthy_panic_threshold.value = 0
    cluster.circuit_breakers.thresholds.append(
        CircuitBreakers.Thresholds(
            max_connections=_count(limits.max_connections, MAX_CONNECTIONS),
            max_pending_requests=_count(limits.max_pending_requests, MAX_REQUESTS),
            max_requests=_count(limits.max_requests, MAX_REQUESTS),
            max_retries=_count(limits.max_retries, MAX_RETRIES),
        )
    )
    keepalive = _tcp_keepalive(limits)
    if keepalive is not None:
        cluster.upstream_connection_options.CopyFrom(UpstreamConnectionOptions(tcp_keepalive=keepalive))
    return cluster


def _count(value: int | None, default: int) -> UInt32Value:
    return UInt32Value(value=default if value is None else value)


def _tcp_keepalive(limits: ConnectionLimits) -> TcpKeepalive | None:
    if limits.keepalive_probes is None and limits.keepalive_time is None and limits.keepalive_interval is None:
        return None
    keepalive = TcpKeepalive()
    if limits.keepalive_probes is not None:
        keepalive.keepalive_probes.value = limits.keepalive_probes
    if limits.keepalive_time is not None:
        keepalive.keepalive_time.value = max(1, round(limits.keepalive_time))
    if limits.keepalive_interval is not None:
        keepalive.keepalive_interval.value = max(1, round(limits.keepalive_interval))
    return keepalive


def _set_transport(cluster: Cluster, transport: Transport, trust_domain: str, alpn: str) -> None:
    if isinstance(transport, Plaintext):
        return
    identities = transport.identities if isinstance(transport, MutualTls) else transport.mutual_tls.identities
    mutual = mesh_client_socket(map(str, identities), trust_domain, alpn)
    if isinstance(transport, MutualTls):
        cluster.transport_socket.CopyFrom(mutual)
        return
    plaintext = Struct()
    plaintext.fields[PLAINTEXT_KEY].bool_value = True
    cluster.transport_socket_matches.extend(
        [
            Cluster.TransportSocketMatch(name="plaintext", match=plaintext, transport_socket=plaintext_socket()),
            Cluster.TransportSocketMatch(name="mutual-tls", match=Struct(), transport_socket=mutual),
        ]
    )


def _static(name: str, address: Address) -> ClusterLoadAssignment:
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=EnvoyEndpoint(address=address))])],
    )
