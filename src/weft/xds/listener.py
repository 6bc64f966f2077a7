"""Parts that all listeners have: address, buffers, filter chains, inspectors."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy, UpstreamConnectMode
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.routes.connections import WeightedTarget
from weft.model.workload import SocketAddress
from weft.xds.limits import (
    CONNECTION_REPORT_SECONDS,
    LISTENER_FILTER_SECONDS,
    MESH,
    ON_DEMAND_SECONDS,
    TLS_HANDSHAKE_SECONDS,
)
from weft.xds.messages import duration, packed, tcp_address
from weft.xds.policies.connections import TcpTimes
from weft.xds.policies.tls import ads_source
from weft.xds.services.shares import weighted_clusters


def tcp_listener(name: str, where: SocketAddress, buffer: int, chains: Iterable[FilterChain]) -> Listener:
    """A listener that has `where` to itself: no other process may bind the port too."""
    return Listener(
        name=name,
        stat_prefix=name,
        address=tcp_address(where),
        filter_chains=chains,
        per_connection_buffer_limit_bytes=UInt32Value(value=buffer),
        enable_reuse_port=BoolValue(value=False),
        listener_filters_timeout=duration(LISTENER_FILTER_SECONDS),
    )


def internal_listener(name: str, buffer: int, chains: Iterable[FilterChain]) -> Listener:
    """A listener to which only this proxy itself connects."""
    return Listener(
        name=name,
        stat_prefix=name,
        internal_listener=Listener.InternalListenerConfig(),
        filter_chains=chains,
        per_connection_buffer_limit_bytes=UInt32Value(value=buffer),
    )


def filter_chain(
    name: str,
    network_filter: Filter,
    match: FilterChainMatch | None = None,
    socket: TransportSocket | None = None,
    *,
    before: Iterable[Filter] = (),
) -> FilterChain:
    """A chain that ends in `network_filter`, with others `before` it; without `match` it takes whatever no other chain
    takes."""
    chain = FilterChain(name=name, filters=[*before, network_filter])
    if match is not None:
        chain.filter_chain_match.CopyFrom(match)
    if socket is not None:
        chain.transport_socket.CopyFrom(socket)
        chain.transport_socket_connect_timeout.CopyFrom(duration(TLS_HANDSHAKE_SECONDS))
    return chain


def tcp_proxy(
    stat_prefix: str,
    to: str | tuple[WeightedTarget, ...],
    times: TcpTimes,
    logs: Iterable[AccessLog],
    *,
    on_demand: bool = False,
    proven: bool = False,
    asked: bool = False,
    report: float = CONNECTION_REPORT_SECONDS,
) -> Filter:
    """Bytes to and from a cluster, or divided over backends by weight; these are asked for `on_demand` if they were not
    sent. The share of backends that do not exist is closed. `proven`: a client has to prove who it is before anybody is
    connected for it. `asked`: nobody is connected before the client has said something, for rules before it decide
    then. Every `report` seconds of a connection `logs` are told what it carries."""
    proxy = TcpProxy(stat_prefix=stat_prefix, idle_timeout=duration(times.idle), access_log=logs)
    if proxy.access_log:
        proxy.access_log_options.flush_access_log_on_connected = True
        proxy.access_log_options.access_log_flush_interval.CopyFrom(duration(report))
    shares = weighted_clusters(to)
    if len(shares) == 1:
        proxy.cluster = shares[0][0]
    else:
        for cluster, weight in shares:
            proxy.weighted_clusters.clusters.add(name=cluster, weight=weight)
    if times.longest is not None:
        proxy.max_downstream_connection_duration.CopyFrom(duration(times.longest))
    if times.tunnel:
        proxy.tunneling_config.hostname = times.tunnel
        proxy.tunneling_config.use_post = times.by_post
    if proven:
        proxy.upstream_connect_mode = UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes.value = MESH.buffer  # what may come before the other connection is made
    if asked:
        proxy.upstream_connect_mode = UpstreamConnectMode.ON_DOWNSTREAM_DATA
        proxy.max_early_data_bytes.value = MESH.buffer
    if on_demand:
        proxy.on_demand.odcds_config.CopyFrom(ads_source())
        proxy.on_demand.timeout.CopyFrom(duration(ON_DEMAND_SECONDS))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def tls_inspector() -> ListenerFilter:
    """Reads server name and ALPN before the handshake, for chains chosen by them."""
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))


def http_inspector() -> ListenerFilter:
    """Reads the first bytes and tells HTTP from anything else."""
    return ListenerFilter(name="envoy.filters.listener.http_inspector", typed_config=packed(HttpInspector()))
