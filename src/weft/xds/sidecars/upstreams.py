"""Loopback ports that lead to one service each (``--upstream``), whatever the application's protocol."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.service import Protocol
from weft.mesh.signals import Signals
from weft.mesh.views import UpstreamPort
from weft.xds.filters.place import Place
from weft.xds.http_connection_manager import outbound_manager
from weft.xds.limits import DETECTION_SECONDS, MESH
from weft.xds.listener import filter_chain, http_inspector, tcp_listener, tls_inspector
from weft.xds.messages import duration
from weft.xds.policies.connections import times_of
from weft.xds.resource import encode_resource
from weft.xds.routes.route_configuration import Entry, clusters_of, encode_routes, origins_of, virtual_host
from weft.xds.services.shares import led_to
from weft.xds.sidecars.tunnels import name_chains
from weft.xds.signals.collectors import required_collectors
from weft.xds.snapshot import CLUSTER, ROUTES, Resource

_ENTRY = Entry(Place.OUTBOUND)
_HTTP = ("http/1.0", "http/1.1", "h2c")


def upstream_name(port: UpstreamPort) -> str:
    """The name of its listener."""
    return f"upstream|{port.listen}"


def upstream_route_name(host: str, port: int) -> str:
    """The name of the route configuration for an HTTP upstream: the service's rules under any host name."""
    return f"upstream|{port}|{host}"


def encode_upstream(
    port: UpstreamPort, proxy: str, signals: Signals, on_demand: bool = False, http10: bool = False
) -> Resource:
    """The listener of one upstream of `proxy`."""
    name, route_name = upstream_name(port), upstream_route_name(port.host, port.port)
    chains: list[FilterChain] = []
    requires: list[tuple[str, str]] = [(CLUSTER, name) for name in led_to(port.connections.routes())]
    if port.protocol is not Protocol.TCP:
        manager = outbound_manager(route_name, signals, proxy=proxy, on_demand=on_demand, http10=http10)
        http = filter_chain("http", manager)
        if port.protocol is Protocol.AUTO:
            http.filter_chain_match.CopyFrom(FilterChainMatch(application_protocols=_HTTP))
            if port.connections.by_name:  # what TLS offers inside is read too, and is no HTTP that anybody can route
                http.filter_chain_match.transport_protocol = "raw_buffer"
        chains.append(http)
        requires.append((ROUTES, route_name))
    backends = {backend.key: backend for backend in port.backends}
    times = tuple(times_of(backends, route) for route in port.connections.routes())
    chains += name_chains(port.connections, times, signals, "upstream", on_demand=on_demand)
    listener = tcp_listener(name, port.listen, MESH.buffer, chains)
    listener.traffic_direction = base_pb2.OUTBOUND
    if port.connections.by_name:
        listener.listener_filters.append(tls_inspector())
    if port.protocol is Protocol.AUTO:
        listener.listener_filters.append(http_inspector())
        listener.listener_filters_timeout.CopyFrom(duration(DETECTION_SECONDS))
        listener.continue_on_listener_filters_timeout = True
    return encode_resource(listener, name, (), (*requires, *required_collectors(signals)))


def encode_upstream_routes(memo: Memo, host: VirtualHost, service: str) -> Resource:
    """The rules of `host`, whatever name the client uses: it only knows a loopback address."""
    name = upstream_route_name(service, host.port)
    part = memo(virtual_host, host, ("*",), _ENTRY)
    return encode_routes(name, [part], origins_of((host,)), clusters_of((host,)))
