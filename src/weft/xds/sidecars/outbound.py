"""The way out of a sidecar: one route configuration for all hosts, the proxy listener, and the CONNECT tunnel.

An application that honours HTTP_PROXY sends absolute-form requests, which are routed by host, or CONNECT (gRPC, HTTPS).
CONNECT to an HTTP port is ended here and led into an internal listener with the same routes; to a TCP port it is
carried straight to the endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Respond
from weft.mesh.routes.rules import VirtualHost as MeshVirtualHost
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Signals
from weft.mesh.views import OutboundView, Refusal, Tunnel
from weft.model.origin import Origin
from weft.model.workload import SocketAddress
from weft.xds.filters.chain import enable_forward_proxy
from weft.xds.filters.place import Place
from weft.xds.filters.proxy_auth import HEADER
from weft.xds.http_connection_manager import outbound_manager
from weft.xds.limits import MESH
from weft.xds.listener import filter_chain, tcp_listener
from weft.xds.messages import duration, service_metadata
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
    inside_route,
    origins_of,
    tunnel_route,
    virtual_host,
)
from weft.xds.services.cluster import FORWARD_PROXY, HTTP_TUNNEL
from weft.xds.services.names import cluster_name, tunnel_name
from weft.xds.services.shares import led_to
from weft.xds.sidecars.tunnels import leads_inside
from weft.xds.signals.collectors import required_collectors
from weft.xds.snapshot import ROUTES, Resource

PROXY_LISTENER = "outbound"
OUTBOUND_ROUTES = "outbound"
"""The route configuration's name: the same in every proxy, so that its listener never changes with routes."""
_INSIDE = Entry(Place.OUTBOUND, tunnel=HTTP_TUNNEL)
_PASSING = Entry(Place.OUTBOUND, tunnel=FORWARD_PROXY)
_EVERY = RouteMatch(prefix="/")
_UNKNOWN = "no service or document of the mesh names this host"
_ANOTHER = "the connection was made to an address of a service, and no service has this host"
CAPTURED, CAPTURED_VALUE = "weft.captured", "1"
"""The filter state of connections that were captured on their way to a service."""
_AS_TCP = "HTTP cannot be routed there; use `weft run --upstream`, or name the port http"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One virtual host, encoded: what it answers to, the clusters it leads to, and the places that shaped it."""

    domains: tuple[str, ...]
    body: bytes
    clusters: tuple[str, ...]
    origins: tuple[Origin, ...]


def encode_outbound_routes(memo: Memo, view: OutboundView, times: tuple[TcpTimes, ...]) -> Resource:
    """The route configuration of an OutboundView. `times` are the tunnels'. A host that changes is encoded again, the
    others are joined as they are."""
    hosts, tunnels = view.virtual_hosts, view.tunnels
    twice = memo.over(_named_twice, [*(host.domains for host in hosts), *(tunnel.domains for tunnel in tunnels)])
    parts = [memo(_host_part, memo, each, _alone(each, twice), view.allow_any) for each in hosts]
    for each, its in zip(tunnels, times, strict=True):
        if each.inside is None:
            parts.append(memo(_tunnel_part, each, its))
        else:
            parts.append(memo(_turning_part, each, its, each.inside, _alone(each.inside, twice)))
    parts += [memo(_refusal_part, each) for each in view.refusals]
    parts.append(memo(_unknown_part, view.allow_any, view.by_address))
    if memo.over(_named_twice, [part.domains for part in parts]):
        parts = _without_twins(parts)
    clusters = {HTTP_TUNNEL}.union(*[part.clusters for part in parts])
    origins = tuple({id(origin): origin for part in parts for origin in part.origins}.values())
    return encode_routes(OUTBOUND_ROUTES, [part.body for part in parts], origins, sorted(clusters), without=[HEADER])


def _named_twice(domains: tuple[tuple[str, ...], ...]) -> frozenset[str]:
    """The names that stand more than once in `domains`."""
    return frozenset([name for name, count in Counter(chain.from_iterable(domains)).items() if count > 1])


def _alone(host: MeshVirtualHost, twice: frozenset[str]) -> tuple[str, ...] | None:
    """Those of a host's names that mean only its port; None: all."""
    if twice.isdisjoint(host.domains):
        return None
    return tuple([name for name in host.domains if name not in twice])


def _host_part(memo: Memo, host: MeshVirtualHost, alone: tuple[str, ...] | None, allow_any: bool) -> Part:
    domains = memo(host_domains, host.domains, host.port, host.domains if alone is None else alone)
    clusters = clusters_of((host,))
    passing = (FORWARD_PROXY,) if allow_any and not host.port else ()
    body = virtual_host(host, domains, _entry(host, allow_any))
    return Part(domains, body, (*clusters, *passing), origins_of((host,)))


def _tunnel_part(tunnel: Tunnel, times: TcpTimes) -> Part:
    domains = tuple([f"{name}:{tunnel.port}" for name in tunnel.domains])
    key, backend = tunnel.object, BackendKey(tunnel.host, tunnel.port)
    why = f"{key.name}.{key.namespace} carries TCP at port {tunnel.port}: {_AS_TCP}"
    if leads_inside(tunnel, times):
        inside = tunnel_name(backend)
        clusters: tuple[str, ...] = (inside,)
        routes = [inside_route(inside)]
    else:
        clusters = led_to(tunnel.connections.routes())
        routes = [tunnel_route(each, times) for each in tunnel.connections.routes()]
    routes.append(Route(name="refuse", match=_EVERY, direct_response=_refused(why)))
    name = cluster_name(backend)
    service = service_metadata(tunnel.host, tunnel.port, tcp=True)
    host = VirtualHost(name=name, domains=domains, routes=routes, metadata=service)
    origins = tuple(dict.fromkeys(route.origin for route in tunnel.connections.routes()))
    return Part(domains, host_part(host), clusters, origins)


def _turning_part(tunnel: Tunnel, times: TcpTimes, inside: MeshVirtualHost, alone: tuple[str, ...] | None) -> Part:
    """A port that carries connections, and requests too: those in CONNECTs of the time when it carried only these."""
    plain = _tunnel_part(tunnel, times)
    domains = host_domains(inside.domains, inside.port, inside.domains if alone is None else alone)
    [connecting] = RouteConfiguration.FromString(plain.body).virtual_hosts
    [host] = RouteConfiguration.FromString(virtual_host(inside, domains, Entry(Place.OUTBOUND))).virtual_hosts
    routes = [*connecting.routes[:-1], *host.routes]
    del host.routes[:]
    host.routes.extend(routes)
    host.metadata.CopyFrom(connecting.metadata)
    origins = tuple(dict.fromkeys((*plain.origins, *origins_of((inside,)))))
    return Part(domains, host_part(host), (*plain.clusters, *clusters_of((inside,))), origins)


def _refusal_part(refusal: Refusal) -> Part:
    """Names that lead nowhere. CONNECT gets an empty 404, for no client shows the body of a refused CONNECT."""
    bare = refusal.domains if refusal.bare else ()
    domains = (*[f"{name}:*" for name in refusal.domains], *bare)
    route = Route(match=_EVERY, direct_response=_refused(refusal.reason))
    host = VirtualHost(name=f"refused {refusal.domains[-1]}", domains=domains, routes=[route])
    return Part(domains, host_part(host), (), ())


def _unknown_part(allow_any: bool, by_address: bool) -> Part:
    """Whatever nobody names."""
    routes = [*(_of_captured() if allow_any and by_address else ()), *_unknown_routes(allow_any)]
    host = VirtualHost(name="unknown-hosts", domains=["*"], routes=routes)
    return Part(("*",), host_part(host), (FORWARD_PROXY,) if allow_any else (), ())


def _without_twins(parts: Sequence[Part]) -> list[Part]:
    """The parts, each without the domains of those before it: Envoy refuses the whole of a route configuration if a
    domain stands twice."""
    ledger = DomainLedger()
    found: list[Part] = []
    for part in parts:
        domains = ledger.claim(part.domains)
        if domains == part.domains:
            found.append(part)
        elif domains:
            [host] = RouteConfiguration.FromString(part.body).virtual_hosts
            del host.domains[:]
            host.domains.extend(domains)
            found.append(replace(part, domains=domains, body=host_part(host)))
    return found


def encode_proxy_listener(
    where: SocketAddress,
    proxy: str,
    signals: Signals,
    on_demand: bool = False,
    secret: bool = False,
    http10: bool = False,
) -> Resource:
    """The listener of `proxy` that HTTP_PROXY names. The same whether hosts outside the mesh may be called or not: that
    is the routes' business, so open connections follow when it changes. `secret`, `http10`: see `outbound_manager`."""
    manager = outbound_manager(
        OUTBOUND_ROUTES, signals, proxy=proxy, any_host=True, on_demand=on_demand, secret=secret, http10=http10
    )
    chain = filter_chain("outbound", manager)
    listener = tcp_listener(PROXY_LISTENER, where, MESH.buffer, [chain])
    listener.traffic_direction = base_pb2.OUTBOUND
    return encode_resource(listener, PROXY_LISTENER, (), ((ROUTES, OUTBOUND_ROUTES), *required_collectors(signals)))


def encode_tunnel_listener(signals: Signals, on_demand: bool = False, http10: bool = False) -> Resource:
    """The internal listener for what comes out of a CONNECT to an HTTP host. Circles do not lead through it but through
    the proxy listener: nothing sent out from here is a CONNECT."""
    manager = outbound_manager(OUTBOUND_ROUTES, signals, any_host=True, on_demand=on_demand, http10=http10)
    listener = Listener(
        name=HTTP_TUNNEL,
        stat_prefix=HTTP_TUNNEL,
        internal_listener=Listener.InternalListenerConfig(),
        filter_chains=[filter_chain("outbound", manager)],
        per_connection_buffer_limit_bytes=UInt32Value(value=MESH.buffer),
        traffic_direction=base_pb2.OUTBOUND,
    )
    return encode_resource(listener, HTTP_TUNNEL, (), ((ROUTES, OUTBOUND_ROUTES), *required_collectors(signals)))


def _entry(host: MeshVirtualHost, allow_any: bool) -> Entry:
    """CONNECT to a host outside the mesh is mostly HTTPS, which nobody can route by what is inside."""
    return _PASSING if not host.port and allow_any else _INSIDE


def _unknown_routes(allow_any: bool) -> Iterator[Route]:
    if allow_any:
        forward = RouteAction(cluster=FORWARD_PROXY, timeout=duration(0))
        yield connect_route(FORWARD_PROXY)
        yield Route(name="forward", match=_EVERY, route=forward, typed_per_filter_config=enable_forward_proxy())
        return
    refusal = _refused(_UNKNOWN)
    connect = RouteMatch()
    connect.connect_matcher.SetInParent()
    yield Route(name="connect", match=connect, direct_response=refusal)
    yield Route(name="refuse", match=_EVERY, direct_response=refusal)


def _of_captured() -> Iterator[Route]:
    """Who connected to a service and asks for a host that none has is led nowhere else: not out of the mesh."""
    captured = FilterStateMatcher(key=CAPTURED, string_match=StringMatcher(exact=CAPTURED_VALUE))
    connect = RouteMatch(filter_state=[captured])
    connect.connect_matcher.SetInParent()
    every = RouteMatch(prefix="/", filter_state=[captured])
    for name, match in (("connect-captured", connect), ("refuse-captured", every)):
        yield Route(name=name, match=match, direct_response=_refused(_ANOTHER))


def _refused(why: str) -> DirectResponseAction:
    return respond_action(Respond(502, f"weft: {why}\n".encode()))
