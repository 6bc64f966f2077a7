"""CDS: a Backend as a cluster, and the clusters of the proxy itself (application, CONNECT tunnel, unknown hosts)."""

from __future__ import annotations

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import Address, EnvoyInternalAddress, TcpKeepalive
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.services.service import (
    Backend,
    ConnectionLimits,
    HttpVersion,
    MutualTls,
    PerEndpoint,
    Plaintext,
    Protocol,
    RetryBudget,
    Tls,
    Transport,
)
from weft.mesh.views import InboundPort
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
from weft.xds.messages import duration, packed, provenance, service_metadata, tcp_address
from weft.xds.policies.balancing import set_avoidance, set_balancing, set_comparison, set_ejection
from weft.xds.policies.connections import http_idle
from weft.xds.policies.health import set_health_check
from weft.xds.policies.tls import (
    ALPN_HTTP1,
    ALPN_HTTP2,
    ALPN_TCP,
    ads_source,
    mark_epoch,
    mesh_client_socket,
    plaintext_socket,
    proxy_protocol_socket,
    tls_client_socket,
)
from weft.xds.resource import encode_resource
from weft.xds.services.endpoints import FALLBACK_KEY, PLAINTEXT_KEY, by_locality, groups_of
from weft.xds.services.names import NOWHERE, cluster_name, endpoints_name, inbound_cluster_name
from weft.xds.services.protocol_options import CLUSTER_EXTENSION, RequestNames, Version, client_options
from weft.xds.snapshot import ENDPOINTS, Resource

HTTP_TUNNEL = "http-tunnel"
"""The internal listener into which CONNECT to an HTTP host is led, and the cluster that leads there."""
FORWARD_PROXY = "forward-proxy"
"""The cluster for hosts that no document names, resolved by DNS per request."""


def encode_backend(backend: Backend, trust_domain: str, trust_epoch: int = 0) -> Resource:
    """The cluster of a Backend. Connections that were made in another `trust_epoch` end when their requests do."""
    tcp = backend.protocol is Protocol.TCP
    service = endpoints_name(backend.key)
    name = cluster_name(backend.key)
    limits = backend.policy.limits
    cluster = base_cluster(name, limits)
    cluster.metadata.CopyFrom(provenance(str(backend.object)))
    if isinstance(backend.transport, MutualTls | PerEndpoint):
        mark_epoch(cluster.metadata, trust_epoch)
    requires: tuple[tuple[str, str], ...] = ()
    if backend.by_caller:
        asked = _names_asked(backend.transport)
        set_forward_proxy(cluster, one_name=isinstance(backend.transport, Tls) and not (asked and asked.proved))
    elif backend.dns:
        set_dns(cluster, single=backend.single)
        found = by_locality(groups_of(backend.dns), marked=isinstance(backend.transport, PerEndpoint))
        cluster.load_assignment.CopyFrom(ClusterLoadAssignment(cluster_name=name, endpoints=found))
    else:
        requires = ((ENDPOINTS, service),)
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
        if backend.key.opaque:
            cluster.eds_cluster_config.service_name = service
    http2 = not tcp and _speaks_http2(backend)
    _set_choice(cluster, backend, tcp=tcp, http2=http2)
    if tcp and backend.requests is Protocol.HTTP2:  # straight to the application
        cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
            client_options(http2=True, upgrades=False, keepalive=False, idle=HTTP2_IDLE_SECONDS)
        )
    if not tcp:
        cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
            client_options(
                http2=http2,
                upgrades=backend.protocol is not Protocol.HTTP2,
                keepalive=True,
                idle=http_idle(limits, HTTP2_IDLE_SECONDS if http2 else HTTP1_IDLE_SECONDS),
                longest=limits.max_connection_duration,
                max_requests_per_connection=limits.max_requests_per_connection,
                max_concurrent_streams=limits.max_concurrent_streams,
                names=_names_asked(backend.transport) or (RequestNames() if backend.by_caller else None),
                version=_version(backend),
            )
        )
    alpn = ALPN_TCP if tcp else (ALPN_HTTP2 if http2 else ALPN_HTTP1)
    _set_transport(cluster, backend, trust_domain, alpn)
    return encode_resource(cluster, name, backend.origins, requires)


def _speaks_http2(backend: Backend) -> bool:
    """Between proxies it is HTTP/2, and to those that stand in, if any of them has one."""
    if backend.protocol is Protocol.HTTP2:
        return True
    if _has_proxies(backend):
        every = (backend.transport, *backend.fallbacks)
        return not any(isinstance(each, PerEndpoint) and each.bare for each in every)
    return isinstance(backend.transport, Plaintext) and backend.policy.version is HttpVersion.HTTP2


def _has_proxies(backend: Backend) -> bool:
    """Whether some of its endpoints have a proxy of the mesh."""
    return any(isinstance(each, MutualTls | PerEndpoint) for each in (backend.transport, *backend.fallbacks))


def _version(backend: Backend) -> Version:
    """How the version is found that a server without a proxy of the mesh is spoken to in."""
    if _has_proxies(backend):
        return Version.ONE
    if backend.policy.version is HttpVersion.CALLERS:
        return Version.CALLERS
    agreed = isinstance(backend.transport, Tls) and backend.policy.version is HttpVersion.HTTP2
    return Version.AGREED if agreed and backend.protocol is not Protocol.HTTP2 else Version.ONE


def _names_asked(transport: Transport) -> RequestNames | None:
    """Whether the host of each request is the server name asked for, and whether it has to be proved."""
    if not isinstance(transport, Tls) or transport.sni:
        return None
    return RequestNames(proved=not (transport.names or transport.insecure))


def _set_choice(cluster: Cluster, backend: Backend, *, tcp: bool, http2: bool) -> None:
    """How an endpoint is chosen, which are left out, and how many tries are made again."""
    policy, said = backend.policy, backend.resilience
    near = policy.nearness
    shared_out = near is not None and (bool(near.shares) or near.zones is not None)
    if not backend.by_caller:
        set_balancing(cluster, policy.balancing, shared_out=shared_out)
    set_retry_budget(cluster, policy.retry_budget)
    if policy.ejection is not None:
        set_ejection(cluster, policy.ejection)
    elif not backend.outside:
        set_avoidance(cluster)
    if said.comparison is not None:
        set_comparison(cluster.outlier_detection, said.comparison, policy.ejection)
    check = said.health
    if check is not None and (check.protocol == "tcp" or (http2 if check.protocol == "grpc" else not tcp)):
        set_health_check(cluster, check, http2=http2)


def encode_application(port: InboundPort) -> Resource:
    """The cluster that leads to the application behind the proxy, on its own host and in plaintext."""
    name, limits = inbound_cluster_name(port.port), port.limits
    cluster = base_cluster(name, limits)
    cluster.type = Cluster.STATIC
    cluster.load_assignment.CopyFrom(static_endpoints(name, tcp_address(port.application)))
    if port.protocol in (Protocol.TCP, Protocol.AUTO):
        # Requests have it from their virtual host; connections have none.
        service, number = port.service
        cluster.metadata.CopyFrom(service_metadata(service, number or port.port))
    if port.protocol is not Protocol.TCP:
        http2 = port.http2
        cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
            client_options(
                http2=http2,
                upgrades=False,
                keepalive=False,
                idle=http_idle(limits, HTTP1_IDLE_SECONDS),
                longest=limits.max_connection_duration,
                max_requests_per_connection=limits.max_requests_per_connection,
                max_concurrent_streams=limits.max_concurrent_streams,
            )
        )
    return encode_resource(cluster, name, port.origins)


def encode_http_tunnel() -> Resource:
    """From a terminated CONNECT into the internal listener that routes what is inside as HTTP."""
    cluster = base_cluster(HTTP_TUNNEL, ConnectionLimits())
    cluster.type = Cluster.STATIC
    address = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=HTTP_TUNNEL))
    cluster.load_assignment.CopyFrom(static_endpoints(HTTP_TUNNEL, address))
    return encode_resource(cluster, HTTP_TUNNEL)


def encode_nowhere() -> Resource:
    """For the share of connections whose backend does not exist: no endpoint ever is, so they are closed at once. Of a
    cluster that is not there Envoy would ask first."""
    cluster = base_cluster(NOWHERE, ConnectionLimits())
    cluster.type = Cluster.STATIC
    cluster.load_assignment.cluster_name = NOWHERE
    return encode_resource(cluster, NOWHERE)


def encode_forward_proxy(connect_timeout: float | None = None) -> Resource:
    """To whatever host the request names, for meshes that allow any. `connect_timeout` is the mesh's default."""
    limits = ConnectionLimits(
        connect_timeout=connect_timeout,
        max_connections=MAX_OUTSIDE_CONNECTIONS,
        max_pending_requests=MAX_OUTSIDE_CONNECTIONS,
        max_requests=MAX_OUTSIDE_REQUESTS,
    )
    cluster = base_cluster(FORWARD_PROXY, limits)
    set_forward_proxy(cluster)
    cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
        client_options(http2=False, upgrades=False, keepalive=False, idle=HTTP1_IDLE_SECONDS, names=RequestNames())
    )
    return encode_resource(cluster, FORWARD_PROXY)


def base_cluster(name: str, limits: ConnectionLimits) -> Cluster:
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


def set_retry_budget(cluster: Cluster, budget: RetryBudget | None) -> None:
    """Retries by their share of requests, which takes the place of a bound on their number."""
    if budget is not None:
        found = cluster.circuit_breakers.thresholds[0].retry_budget
        found.budget_percent.value = budget.percent
        found.min_retry_concurrency.value = budget.least


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


def _set_transport(cluster: Cluster, backend: Backend, trust_domain: str, alpn: str) -> None:
    """Who stands in has to prove to be that, and nobody else is taken for it."""
    transport = backend.transport
    if not backend.fallbacks and not isinstance(transport, PerEndpoint):
        if not isinstance(transport, Plaintext) or backend.policy.proxy_protocol:
            socket = _socket(transport, trust_domain, backend.policy.proxy_protocol, alpn)
            cluster.transport_socket.CopyFrom(socket)
        return
    for number, other in enumerate(backend.fallbacks):
        of_fallback = Struct()
        of_fallback.fields[FALLBACK_KEY].number_value = number
        _add_matches(cluster, other, of_fallback, f" of fallback {number}", trust_domain, alpn)
    _add_matches(cluster, transport, Struct(), "", trust_domain, alpn)


def _add_matches(cluster: Cluster, transport: Transport, match: Struct, of: str, trust_domain: str, alpn: str) -> None:
    """The sockets of endpoints whose metadata has what is in `match`."""
    if isinstance(transport, Plaintext | PerEndpoint):
        plaintext = Struct()
        plaintext.CopyFrom(match)
        if isinstance(transport, PerEndpoint):
            plaintext.fields[PLAINTEXT_KEY].bool_value = True
        cluster.transport_socket_matches.add(
            name=f"plaintext{of}", match=plaintext, transport_socket=plaintext_socket()
        )
    if not isinstance(transport, Plaintext):
        protected = transport.mutual_tls if isinstance(transport, PerEndpoint) else transport
        socket = _protected_socket(protected, trust_domain, alpn)
        word = "mutual-tls" if isinstance(protected, MutualTls) else "tls"
        cluster.transport_socket_matches.add(name=f"{word}{of}", match=match, transport_socket=socket)


def _socket(transport: Plaintext | MutualTls | Tls, trust_domain: str, proxied: str, alpn: str) -> TransportSocket:
    """The socket of a cluster that has one. A proxy of the mesh does not take what PROXY protocol begins with."""
    if isinstance(transport, MutualTls):
        return _protected_socket(transport, trust_domain, alpn)
    inside = (
        plaintext_socket() if isinstance(transport, Plaintext) else _protected_socket(transport, trust_domain, alpn)
    )
    return proxy_protocol_socket(inside, proxied) if proxied else inside


def _protected_socket(transport: MutualTls | Tls, trust_domain: str, alpn: str) -> TransportSocket:
    if isinstance(transport, Tls):
        return tls_client_socket(transport, http=alpn != ALPN_TCP)
    return mesh_client_socket(map(str, transport.identities), trust_domain, alpn, sni=transport.sni)


def set_dns(cluster: Cluster, *, single: bool = True) -> None:
    """Its names are resolved by DNS, again when an answer's time is over; with `single` all addresses of the only name
    are one endpoint, of which each connection takes the first."""
    cluster.cluster_type.name = "envoy.clusters.dns"
    cluster.cluster_type.typed_config.CopyFrom(
        packed(DnsCluster(respect_dns_ttl=True, all_addresses_in_single_endpoint=single))
    )


def set_forward_proxy(cluster: Cluster, *, one_name: bool = False) -> None:
    """Each request, or CONNECT, says by its host where it goes; that is resolved when the request is there. `one_name`:
    the document says for all hosts which name their servers prove, or that they prove none."""
    config = ClusterConfig(dns_cache_config=dns_cache(), allow_insecure_cluster_options=one_name)
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    cluster.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
    cluster.cluster_type.typed_config.CopyFrom(packed(config))


def static_endpoints(name: str, address: Address) -> ClusterLoadAssignment:
    """One endpoint that never changes, or the name that DNS resolves."""
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=EnvoyEndpoint(address=address))])],
    )
