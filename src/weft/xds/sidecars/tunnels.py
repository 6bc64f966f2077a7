"""What comes out of a CONNECT whose connection is not passed on as it is: an internal listener that reads the server
name, or that leads it through an HTTP proxy which wants to be asked with POST."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.address_pb2 import Address, EnvoyInternalAddress
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.routes.connections import Connections
from weft.mesh.services.service import BackendKey, ConnectionLimits
from weft.mesh.signals import Signals
from weft.mesh.views import Tunnel
from weft.xds.filters.place import Place
from weft.xds.limits import LISTENER_FILTER_SECONDS, MESH
from weft.xds.listener import filter_chain, tcp_proxy, tls_inspector
from weft.xds.messages import duration
from weft.xds.policies.connections import TcpTimes
from weft.xds.resource import encode_resource
from weft.xds.services.cluster import base_cluster, static_endpoints
from weft.xds.services.names import tunnel_name
from weft.xds.services.shares import led_to
from weft.xds.signals.collectors import required_collectors
from weft.xds.signals.loggers import connection_report, tcp_loggers
from weft.xds.snapshot import CLUSTER, Resource


def leads_inside(tunnel: Tunnel, times: TcpTimes) -> bool:
    """Whether a CONNECT of `tunnel` is led into a listener of its own: a route can only pass it on as a CONNECT."""
    return bool(tunnel.connections.by_name) or times.by_post


def encode_tunnel_cluster(tunnel: Tunnel) -> Resource:
    """From a terminated CONNECT into its internal listener."""
    name = tunnel_name(BackendKey(tunnel.host, tunnel.port))
    cluster = base_cluster(name, ConnectionLimits())
    cluster.type = Cluster.STATIC
    address = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=name))
    cluster.load_assignment.CopyFrom(static_endpoints(name, address))
    return encode_resource(cluster, name)


def encode_tls_tunnel(
    tunnel: Tunnel, times: tuple[TcpTimes, ...], signals: Signals, on_demand: bool = False
) -> Resource:
    """The internal listener of a tunnel; `times` are those of its routes, in their order. Where no rule asks for names
    nothing is waited for: the server may be the first to speak."""
    name = tunnel_name(BackendKey(tunnel.host, tunnel.port))
    listener = Listener(
        name=name,
        stat_prefix="tunnel",
        internal_listener=Listener.InternalListenerConfig(),
        filter_chains=name_chains(tunnel.connections, times, signals, "tunnel", on_demand=on_demand),
        listener_filters=[tls_inspector()] if tunnel.connections.by_name else [],
        listener_filters_timeout=duration(LISTENER_FILTER_SECONDS),
        per_connection_buffer_limit_bytes=UInt32Value(value=MESH.buffer),
        traffic_direction=base_pb2.OUTBOUND,
    )
    requires = [(CLUSTER, each) for each in led_to(tunnel.connections.routes())]
    return encode_resource(listener, name, (), (*requires, *required_collectors(signals)))


def name_chains(
    connections: Connections, times: tuple[TcpTimes, ...], signals: Signals, prefix: str, *, on_demand: bool
) -> Iterator[FilterChain]:
    """What is not HTTP, by the server name that TLS asks for, if rules ask for that; `times` are those of its routes,
    in their order."""
    logs, report = tuple(tcp_loggers(signals, Place.OUTBOUND)), connection_report(signals)
    for (name, route), its in zip(connections.names_and_routes(), times, strict=True):
        asks = on_demand and any(not key.opaque for key in route.used())
        proxy = tcp_proxy(prefix, route.backends, its, logs, on_demand=asks, report=report)
        match = FilterChainMatch(server_names=[name]) if name else None
        yield filter_chain(f"tls {name}" if name else "tcp", proxy, match)
