"""The way out of a sidecar: one route configuration for all hosts, the proxy listener, and the CONNECT tunnel.

An application that honours HTTP_PROXY sends absolute-form requests, which are routed by host, or CONNECT (gRPC, HTTPS).
CONNECT to an HTTP port is ended here and led into an internal listener with the same routes; to a TCP port it is
carried straight to the endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Respond
from weft.mesh.routes.rules import VirtualHost as MeshVirtualHost
from weft.mesh.views import Tunnel
from weft.model.workload import SocketAddress
from weft.xds.filters.chain import Place, enable_forward_proxy
from weft.xds.http_connection_manager import outbound_manager
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, tcp_listener
from weft.xds.messages import duration
from weft.xds.policies.connections import TcpTimes
from weft.xds.resource import encode_resource
from weft.xds.routes.actions import respond_action
from weft.xds.routes.domains import DomainLedger, host_domains
from weft.xds.routes.route_configuration import (
    Entry,
    clusters_of,
    connect_route,
    encode_routes,
    host_part,
    origins_of,
    tunnel_route,
    virtual_host,
)
from weft.xds.services.cluster import FORWARD_PROXY, HTTP_TUNNEL
from weft.xds.services.names import cluster_name
from weft.xds.snapshot import ROUTES, Resource

PROXY_LISTENER = "outbound"
_INSIDE = Entry(Place.OUTBOUND, tunnel=HTTP_TUNNEL)
_PASSING = Entry(Place.OUTBOUND, tunnel=FORWARD_PROXY)
_UNKNOWN = b"weft: no service or document of the mesh names this host\n"


def encode_outbound_routes(
    memo: Memo,
    name: str,
    hosts: tuple[MeshVirtualHost, ...],
    tunnels: tuple[Tunnel, ...],
    times: tuple[TcpTimes, ...],
    allow_any: bool,
    on_demand: bool = False,
) -> Resource:
    """The route configuration of an OutboundView: of all it has but the endpoints. `times` are the tunnels'."""
    ledger = DomainLedger()
    ports = Counter(domain for host in hosts for domain in host.domains)
    ports.update(domain for tunnel in tunnels for domain in tunnel.domains)
    parts = []
    for host in hosts:
        domains = ledger.claim(host_domains(host.domains, host.port, ports))
        if domains:
            parts.append(memo(virtual_host, host, domains, _entry(host, allow_any)))
    for tunnel, its_times in zip(tunnels, times, strict=True):
        domains = ledger.claim(tuple(f"{domain}:{tunnel.port}" for domain in tunnel.domains))
        if domains:
            parts.append(memo(_tunnel_host, tunnel, domains, its_times))
    if ledger.claim(("*",)):
        parts.append(memo(_unknown_host, allow_any))
    clusters = {HTTP_TUNNEL, *clusters_of(hosts, on_demand=on_demand)}
    if not on_demand:
        clusters.update(cluster_name(each.backend) for tunnel in tunnels for each in tunnel.route.backends)
    if allow_any:
        clusters.add(FORWARD_PROXY)
    return encode_routes(name, parts, origins_of(hosts), sorted(clusters))


def encode_proxy_listener(where: SocketAddress, route_name: str, on_demand: bool = False) -> Resource:
    """The listener that HTTP_PROXY names. The same whether hosts outside the mesh may be called or not: that is the
    routes' business, so open connections follow when it changes."""
    manager = outbound_manager(route_name, any_host=True, on_demand=on_demand)
    chain = filter_chain("outbound", manager)
    listener = tcp_listener(PROXY_LISTENER, where, MESH.buffer, [chain])
    listener.traffic_direction = base_pb2.OUTBOUND
    return encode_resource(listener, PROXY_LISTENER, (), ((ROUTES, route_name),))


def encode_tunnel_listener(route_name: str, on_demand: bool = False) -> Resource:
    """The internal listener for what comes out of a CONNECT to an HTTP host."""
    manager = outbound_manager(route_name, any_host=True, on_demand=on_demand)
    listener = Listener(
        name=HTTP_TUNNEL,
        stat_prefix=HTTP_TUNNEL,
        internal_listener=Listener.InternalListenerConfig(),
        filter_chains=[filter_chain("outbound", manager)],
        per_connection_buffer_limit_bytes=UInt32Value(value=MESH.buffer),
        traffic_direction=base_pb2.OUTBOUND,
    )
    return encode_resource(listener, HTTP_TUNNEL, (), ((ROUTES, route_name),))


def _entry(host: MeshVirtualHost, allow_any: bool) -> Entry:
    """CONNECT to a host outside the mesh is mostly HTTPS, which nobody can route by what is inside."""
    return _PASSING if not host.port and allow_any else _INSIDE


def _tunnel_host(tunnel: Tunnel, domains: tuple[str, ...], times: TcpTimes) -> bytes:
    backends = tunnel.route.backends
    route = tunnel_route(tunnel.route, times)
    return host_part(VirtualHost(name=cluster_name(backends[0].backend), domains=domains, routes=[route]))


def _unknown_host(allow_any: bool) -> bytes:
    return host_part(VirtualHost(name="unknown-hosts", domains=["*"], routes=_unknown_routes(allow_any)))


def _unknown_routes(allow_any: bool) -> Iterator[Route]:
    every = RouteMatch(prefix="/")
    if allow_any:
        forward = RouteAction(cluster=FORWARD_PROXY, timeout=duration(0))
        forward.upgrade_configs.add(upgrade_type="websocket")
        yield connect_route(FORWARD_PROXY)
        yield Route(name="forward", match=every, route=forward, typed_per_filter_config=enable_forward_proxy())
        return
    refusal = respond_action(Respond(502, _UNKNOWN))
    connect = RouteMatch()
    connect.connect_matcher.SetInParent()
    yield Route(name="connect", match=connect, direct_response=refusal)
    yield Route(name="refuse", match=every, direct_response=refusal)
