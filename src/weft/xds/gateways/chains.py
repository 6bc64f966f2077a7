"""Filter chains of a gateway port that pass connections on, chosen by server name (SNI) and destination."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch
from envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2 import SniCluster

from weft.mesh.services.service import Backend
from weft.mesh.signals import Signals
from weft.mesh.views import EdgeTls, GatewayPort, Layer4Chain
from weft.xds.access.connections import connection_filters, refuses
from weft.xds.filters.place import Place
from weft.xds.listener import filter_chain, tcp_proxy
from weft.xds.messages import packed, provenance
from weft.xds.policies.clients import client_filters
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes
from weft.xds.policies.tls import ALPN_TCP, ads_source, edge_server_socket
from weft.xds.resource import encode_resource
from weft.xds.services.cluster import base_cluster
from weft.xds.services.names import cluster_name, passed_name
from weft.xds.services.shares import led_to
from weft.xds.signals.loggers import connection_report, tcp_loggers
from weft.xds.snapshot import CLUSTER, ENDPOINTS, SECRET, Resource

_NOBODY = "nobody"
"""A cluster that is not there: who asks for a name that no service has is not connected."""


def layer4_chain(
    port: GatewayPort, chain: Layer4Chain, signals: Signals, trust_domain: str, times: TcpTimes = DEFAULT_TIMES
) -> FilterChain:
    """The filter chain of connections that are passed on; TLS ends there if the chain says how."""
    match = FilterChainMatch()
    if port.protocol in ("HTTPS", "TLS"):
        match.transport_protocol = "tls"
    if "*" not in chain.hostnames:
        match.server_names.extend(chain.hostnames)
    for subnet in chain.subnets:
        address, _, bits = subnet.partition("/")
        prefix = CidrRange(address_prefix=address)
        prefix.prefix_len.value = int(bits or (128 if ":" in address else 32))
        match.prefix_ranges.append(prefix)
    logs, report = tuple(tcp_loggers(signals, Place.GATEWAY)), connection_report(signals)
    to = _NOBODY if chain.automatic else chain.route.backends
    proxy = tcp_proxy("gateway", to, times, logs, asked=refuses(port.access), report=report)
    socket = edge_server_socket(chain.tls, trust_domain, (ALPN_TCP,) if chain.tls.mesh else ()) if chain.tls else None
    found = match if match.ByteSize() else None
    before = [*client_filters(chain.tls, trust_domain), *connection_filters(port.access)]
    if chain.automatic:
        before.append(Filter(name="envoy.filters.network.sni_cluster", typed_config=packed(SniCluster())))
    return filter_chain(chain.name, proxy, found, socket, before=before)


def encode_passed(backend: Backend) -> Resource:
    """The cluster of a Backend to which mutual TLS is passed on as it comes, by the name that callers ask for.
    Endpoints are those of the Backend."""
    key = backend.key
    name = passed_name(key)
    cluster = base_cluster(name, backend.policy.limits)
    cluster.metadata.CopyFrom(provenance(str(backend.object)))
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
    cluster.eds_cluster_config.service_name = cluster_name(key)
    return encode_resource(cluster, name, backend.origins, ((ENDPOINTS, cluster_name(key)),))


def layer4_requires(chain: Layer4Chain) -> list[tuple[str, str]]:
    """What a client has to have before the listener of a chain."""
    needed = [] if chain.automatic else [(CLUSTER, name) for name in led_to((chain.route,))]
    return [*needed, *((SECRET, name) for name in secrets_of(chain.tls))]


def secrets_of(tls: EdgeTls | None) -> tuple[str, ...]:
    """The secrets that a proxy is sent and has to have; of those that cannot be read now it keeps what it has."""
    if tls is None:
        return ()
    roots = (tls.clients.roots,) if tls.clients and not tls.clients.unsent else ()
    return (*(name for name in tls.certificates if name not in tls.unsent), *roots)
