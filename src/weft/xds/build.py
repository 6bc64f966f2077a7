"""build_xds: a ProxyView compiled to an XdsSnapshot, in layers that proxies with equal views share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.service import Backend, EndpointSet, Protocol
from weft.mesh.views import GatewayView, OutboundView, ProxyView, SidecarView, UpstreamPort
from weft.xds.check import check_layers
from weft.xds.gateways.gateway import encode_certificate, encode_gateway_listener, encode_gateway_routes
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes, tcp_times
from weft.xds.services.cluster import (
    encode_application,
    encode_backend,
    encode_forward_proxy,
    encode_http_tunnel,
)
from weft.xds.services.endpoints import encode_endpoints
from weft.xds.sidecars.inbound import encode_inbound, encode_inbound_routes
from weft.xds.sidecars.outbound import encode_outbound_routes, encode_proxy_listener, encode_tunnel_listener
from weft.xds.sidecars.upstreams import encode_upstream, encode_upstream_routes
from weft.xds.snapshot import Resource, ResourceSet, XdsSnapshot


def build_xds(view: ProxyView, revision: int, memo: Memo) -> XdsSnapshot:
    """Everything the proxy of `view` is entitled to, in three layers: *targets* (clusters and endpoints), *routes* and
    what else callers share, and its *own*.

    Resources made from unchanged nodes are the same objects as in the build before, and layers of which nothing
    changed too. The snapshot's problems name what its resources refer to and nobody defines.
    """
    outbound = view.outbound if isinstance(view, SidecarView) else view
    targets = memo(_target_layer, memo, outbound.backends, outbound.endpoints, outbound.trust_domain)
    if isinstance(view, SidecarView):
        layers: tuple[ResourceSet, ...] = (targets, memo(_route_layer, memo, view.outbound), _sidecar_layer(memo, view))
    else:
        layers = (targets, memo(_gateway_layer, memo, view))
    return XdsSnapshot(revision, layers, memo(check_layers, memo, layers))


def _target_layer(
    memo: Memo, backends: tuple[Backend, ...], endpoints: tuple[EndpointSet, ...], trust_domain: str
) -> ResourceSet:
    """Clusters and endpoints, one resource per node: shared by all views that see them alike."""
    clusters = memo.over(_clusters, backends, memo, trust_domain)
    return _resource_set([*clusters, *[memo(encode_endpoints, each) for each in endpoints]])


def _clusters(backends: tuple[Backend, ...], memo: Memo, trust_domain: str) -> tuple[Resource, ...]:
    return tuple([memo(encode_backend, backend, trust_domain) for backend in backends])


def _route_layer(memo: Memo, view: OutboundView) -> ResourceSet:
    """What all sidecars of one OutboundView share besides: all but their own addresses. Endpoints do not touch it."""
    backends = memo.over(_by_name, view.backends) if view.tunnels else {}
    times = tuple([_times(memo, backends.get(tunnel.backend)) for tunnel in view.tunnels])
    resources = [
        memo(encode_http_tunnel),
        memo(
            encode_outbound_routes,
            memo,
            view.name,
            view.virtual_hosts,
            view.tunnels,
            times,
            view.allow_any,
            view.on_demand,
        ),
        memo(encode_tunnel_listener, view.name, view.allow_any, view.on_demand),
    ]
    if view.allow_any:
        resources.append(memo(encode_forward_proxy))
    return memo.over(_resource_set, resources)


def _sidecar_layer(memo: Memo, view: SidecarView) -> ResourceSet:
    """A sidecar's own: the application's ports, the proxy listener, upstreams. Endpoints of others do not touch it."""
    outbound = view.outbound
    resources: list[Resource] = []
    for port in view.inbound:
        resources.append(memo(encode_application, port))
        resources.append(memo(encode_inbound, port, outbound.trust_domain))
        if port.protocol is not Protocol.TCP:
            resources.append(memo(encode_inbound_routes, port))
    if view.proxy_listen is not None:
        where = view.proxy_listen
        listener = memo(encode_proxy_listener, where, outbound.name, outbound.allow_any, outbound.on_demand)
        resources.append(listener)
    if view.upstreams:
        hosts, backends = memo(_index, memo, outbound)
        for upstream in view.upstreams:
            host = hosts.get((upstream.host, upstream.port))
            resources.extend(_upstream(memo, upstream, host, backends.get(upstream.backend), outbound))
    return memo.over(_resource_set, resources)


def _index(memo: Memo, view: OutboundView) -> tuple[Mapping[tuple[str, int], VirtualHost], Mapping[str, Backend]]:
    """The view's virtual hosts by each name and port, and its backends by name."""
    return memo.over(_by_place, view.virtual_hosts), memo.over(_by_name, view.backends)


def _by_place(hosts: tuple[VirtualHost, ...]) -> Mapping[tuple[str, int], VirtualHost]:
    return MappingProxyType({(domain, host.port): host for host in reversed(hosts) for domain in host.domains})


def _by_name(backends: tuple[Backend, ...]) -> Mapping[str, Backend]:
    return MappingProxyType({backend.name: backend for backend in backends})


def _times(memo: Memo, backend: Backend | None) -> TcpTimes:
    return DEFAULT_TIMES if backend is None else memo(tcp_times, backend.policy.limits)


def _upstream(
    memo: Memo, upstream: UpstreamPort, host: VirtualHost | None, backend: Backend | None, outbound: OutboundView
) -> Iterable[Resource]:
    yield memo(encode_upstream, upstream, _times(memo, backend), outbound.on_demand)
    if upstream.protocol is not Protocol.TCP and host is not None:
        yield memo(encode_upstream_routes, memo, host, upstream.host, outbound.on_demand)
    if upstream.protocol is Protocol.AUTO and backend is not None:
        yield memo(encode_backend, backend, outbound.trust_domain, True)


def _gateway_layer(memo: Memo, view: GatewayView) -> ResourceSet:
    """A gateway's listeners, routes and certificates."""
    resources = [memo(encode_certificate, certificate) for certificate in view.certificates]
    for port in view.ports:
        resources.append(memo(encode_gateway_listener, port))
        resources += [memo(encode_gateway_routes, memo, port, server) for server in port.servers]
    return memo.over(_resource_set, resources)


def _resource_set(resources: Sequence[Resource]) -> ResourceSet:
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    return ResourceSet(MappingProxyType({kind: MappingProxyType(named) for kind, named in by_type.items()}))
