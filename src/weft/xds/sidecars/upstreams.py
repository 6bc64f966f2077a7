"""Loopback ports that lead to one service each (``--upstream``), whatever the application's protocol."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.service import Protocol
from weft.mesh.views import UpstreamPort
from weft.xds.filters.chain import Place
from weft.xds.http_connection_manager import outbound_manager
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, http_inspector, tcp_listener, tcp_proxy
from weft.xds.messages import duration
from weft.xds.policies.connections import TcpTimes
from weft.xds.resource import encode_resource
from weft.xds.routes.route_configuration import Entry, clusters_of, encode_routes, origins_of, virtual_host
from weft.xds.services.names import cluster_name, tcp_variant_name
from weft.xds.snapshot import CLUSTER, ROUTES, Resource

_ENTRY = Entry(Place.OUTBOUND)
_DETECTION_SECONDS = 0.5
"""How long an AUTO port waits for the client's first bytes; then it is a protocol in which the server speaks first."""


def upstream_name(port: UpstreamPort) -> str:
    """The name of its listener."""
    return f"upstream|{port.listen}"


def upstream_route_name(host: str, port: int) -> str:
    """The name of the route configuration for an HTTP upstream: the service's rules under any host name."""
    return f"upstream|{port}|{host}"


def encode_upstream(port: UpstreamPort, proxy: str, times: TcpTimes, on_demand: bool = False) -> Resource:
    """The listener of one upstream of `proxy`; `times` hold where it carries TCP."""
    name = upstream_name(port)
    route_name = upstream_route_name(port.host, port.port)
    http = filter_chain("http", outbound_manager(route_name, proxy=proxy, on_demand=on_demand))
    if port.protocol is Protocol.TCP:
        chains = [filter_chain("tcp", tcp_proxy("upstream", port.route.backends, times, on_demand=on_demand))]
        clusters = [cluster_name(each.backend) for each in port.route.backends]
        requires: tuple[tuple[str, str], ...] = tuple((CLUSTER, cluster) for cluster in clusters)
    elif port.protocol is Protocol.AUTO:
        variant = tcp_variant_name(port.backend.key)
        http.filter_chain_match.CopyFrom(FilterChainMatch(application_protocols=["http/1.0", "http/1.1", "h2c"]))
        chains = [http, filter_chain("tcp", tcp_proxy("upstream", variant, times))]
        requires = ((CLUSTER, variant), (ROUTES, route_name))
    else:
        chains = [http]
        requires = ((ROUTES, route_name),)
    listener = tcp_listener(name, port.listen, MESH.buffer, chains)
    listener.traffic_direction = base_pb2.OUTBOUND
    if port.protocol is Protocol.AUTO:
        listener.listener_filters.append(http_inspector())
        listener.listener_filters_timeout.CopyFrom(duration(_DETECTION_SECONDS))
        listener.continue_on_listener_filters_timeout = True
    return encode_resource(listener, name, (), requires)


def encode_upstream_routes(memo: Memo, host: VirtualHost, service: str) -> Resource:
    """The rules of `host`, whatever name the client uses: it only knows a loopback address."""
    name = upstream_route_name(service, host.port)
    part = memo(virtual_host, host, ("*",), _ENTRY)
    return encode_routes(name, [part], origins_of((host,)), clusters_of((host,)))
