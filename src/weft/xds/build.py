"""build_xds: a ProxyView compiled to an XdsSnapshot, in layers that proxies with equal views share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.services.backends import Targets
from weft.mesh.services.service import Backend, BackendKey, Protocol, Target
from weft.mesh.views import GatewayView, OutboundView, ProxyView, SidecarView, TargetsView, Tunnel, UpstreamPort
from weft.model.problem import Problem
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
from weft.xds.services.names import cluster_name
from weft.xds.sidecars.inbound import encode_inbound, encode_inbound_routes
from weft.xds.sidecars.outbound import encode_outbound_routes, encode_proxy_listener, encode_tunnel_listener
from weft.xds.sidecars.upstreams import encode_upstream, encode_upstream_routes
from weft.xds.snapshot import CLUSTER, ENDPOINTS, Resource, ResourceSet, XdsSnapshot

Encoded = tuple[Resource, Resource | None]
"""A cluster, and its endpoints if they are not left to DNS."""
Backends = Mapping[BackendKey, Backend]
_NONE: Backends = MappingProxyType({})


def build_xds(view: ProxyView, revision: int, memo: Memo) -> XdsSnapshot:
    """Everything the proxy of `view` is entitled to, in three layers: *targets* (clusters and endpoints), *routes* and
    what else callers share, and its *own*.

    Resources made from unchanged nodes are the same objects as in the build before, and layers of which nothing
    changed too. The snapshot's problems name what its resources refer to and nobody defines.
    """
    layers, problems = memo(_layers, memo, view)
    return XdsSnapshot(revision, layers, problems)


def _layers(memo: Memo, view: ProxyView) -> tuple[tuple[ResourceSet, ...], tuple[Problem, ...]]:
    targets = memo(_target_layers, memo, view.targets)
    if isinstance(view, SidecarView):
        backends = memo(_backends, memo, view.targets) if view.outbound.tunnels else _NONE
        outbound = memo(_outbound_layer, memo, view.outbound, backends)
        layers: tuple[ResourceSet, ...] = (*targets, outbound, _sidecar_layer(memo, view))
    else:
        layers = (*targets, memo(_gateway_layer, memo, view))
    return layers, check_layers(memo, layers)


def _target_layers(memo: Memo, view: TargetsView) -> tuple[ResourceSet, ...]:
    """All targets; where they are on demand, those that are told all the same stand in a second layer."""
    everything = _targets_layer(memo, view)
    if not view.on_demand:
        return (everything,)
    names = [cluster_name(target.backend.key) for target in view.told]
    told = [named[name] for name in names for named in everything.by_type.values() if name in named]
    return memo(_on_demand, everything), memo.over(_resource_set, told)


def _on_demand(layer: ResourceSet) -> ResourceSet:
    return ResourceSet(layer.by_type, on_demand=True)


def _targets_layer(memo: Memo, view: TargetsView) -> ResourceSet:
    """Clusters and endpoints. What is the same for all proxies is encoded once, and patched where it changes."""
    if view.base is None:
        return memo.over(_encoded_set, [memo(encode_target, memo, each, view.trust_domain) for each in view.own])
    base = memo(_base_layer, memo, view.base, view.trust_domain)
    if not view.own:
        return base
    clusters, endpoints = dict(base.of_type(CLUSTER)), dict(base.of_type(ENDPOINTS))
    for target in view.own:
        cluster, members = memo(encode_target, memo, target, view.trust_domain)
        clusters[cluster.name] = cluster
        if members is not None:
            endpoints[members.name] = members
    return _set_of_targets(clusters, endpoints)


def _base_layer(memo: Memo, targets: Targets, trust_domain: str) -> ResourceSet:
    """The clusters stay the same mapping while only endpoints change, and so does what is made of it."""
    encoded = memo.rows(encode_target, (targets.all,), trust_domain)
    clusters = memo.table(_named, [cluster for cluster, _ in encoded], name=CLUSTER)
    endpoints = memo.table(_named, [members for _, members in encoded if members is not None], name=ENDPOINTS)
    return _set_of_targets(clusters, endpoints)


def _encoded_set(encoded: tuple[Encoded, ...]) -> ResourceSet:
    clusters = {cluster.name: cluster for cluster, _ in encoded}
    return _set_of_targets(clusters, {members.name: members for _, members in encoded if members is not None})


def _set_of_targets(clusters: Mapping[str, Resource], endpoints: Mapping[str, Resource]) -> ResourceSet:
    return ResourceSet(MappingProxyType({CLUSTER: _frozen(clusters), ENDPOINTS: _frozen(endpoints)}))


def _frozen(named: Mapping[str, Resource]) -> Mapping[str, Resource]:
    return named if isinstance(named, MappingProxyType) else MappingProxyType(named)


def encode_target(memo: Memo, target: Target, trust_domain: str) -> Encoded:
    """A backend's cluster and endpoints."""
    cluster = memo(encode_backend, target.backend, trust_domain)
    return cluster, None if target.endpoints is None else memo(encode_endpoints, target.endpoints)


def _named(resource: Resource) -> Iterable[tuple[str, Resource]]:
    return ((resource.name, resource),)


def _backends(memo: Memo, view: TargetsView) -> Backends:
    """The backends of a view by key: the same mapping while only endpoints change."""
    own = memo.over(_own_backends, [target.backend for target in view.own])
    if view.base is None:
        return own
    base = memo(_base_backends, memo, view.base)
    return memo(_joined, base, own) if own else base


def _base_backends(memo: Memo, targets: Targets) -> Backends:
    return memo.table(_keyed, [target.backend for target in targets.all])


def _own_backends(backends: tuple[Backend, ...]) -> Backends:
    return {backend.key: backend for backend in backends}


def _joined(base: Backends, own: Backends) -> Backends:
    return {**base, **own}


def _keyed(backend: Backend) -> Iterable[tuple[BackendKey, Backend]]:
    return ((backend.key, backend),)


def _outbound_layer(memo: Memo, view: OutboundView, backends: Backends) -> ResourceSet:
    """What all sidecars of one OutboundView share. `backends` are those that its tunnels lead to."""
    times = tuple([_tunnel_times(memo, tunnel, backends) for tunnel in view.tunnels])
    resources = [
        memo(encode_http_tunnel),
        memo(encode_outbound_routes, memo, view, times),
        memo(encode_tunnel_listener, view.on_demand),
    ]
    if view.allow_any:
        resources.append(memo(encode_forward_proxy, view.connect_timeout))
    return memo.over(_resource_set, resources)


def _tunnel_times(memo: Memo, tunnel: Tunnel, backends: Backends) -> TcpTimes:
    """How long its connections may last, by the policy of its first backend."""
    return _times(memo, backends.get(tunnel.route.backends[0].backend))


def _sidecar_layer(memo: Memo, view: SidecarView) -> ResourceSet:
    """A sidecar's own: the application's ports, the proxy listener, upstreams. Endpoints of others do not touch it."""
    outbound = view.outbound
    resources: list[Resource] = []
    for port in view.inbound:
        resources.append(memo(encode_application, port))
        resources.append(memo(encode_inbound, port, view.trust_domain))
        if port.protocol is not Protocol.TCP:
            resources.append(memo(encode_inbound_routes, port))
    if view.proxy_listen is not None:
        where = view.proxy_listen
        resources.append(memo(encode_proxy_listener, where, view.proxy, outbound.on_demand))
    for upstream in view.upstreams:
        resources.extend(_upstream(memo, view, upstream))
    return memo.over(_resource_set, resources)


def _times(memo: Memo, backend: Backend | None) -> TcpTimes:
    return DEFAULT_TIMES if backend is None else memo(tcp_times, backend.policy.limits)


def _upstream(memo: Memo, view: SidecarView, upstream: UpstreamPort) -> Iterable[Resource]:
    times = _times(memo, upstream.backend)
    yield memo(encode_upstream, upstream, view.proxy, times, view.outbound.on_demand)
    if upstream.virtual_host is not None:
        yield memo(encode_upstream_routes, memo, upstream.virtual_host, upstream.host)
    if upstream.protocol is Protocol.AUTO:
        yield memo(encode_backend, upstream.backend, view.trust_domain, True)


def _gateway_layer(memo: Memo, view: GatewayView) -> ResourceSet:
    """A gateway's listeners, routes and certificates."""
    resources = [memo(encode_certificate, certificate) for certificate in view.certificates]
    for port in view.ports:
        resources.append(memo(encode_gateway_listener, port))
        resources += [memo(encode_gateway_routes, memo, port, server) for server in port.servers]
    return memo.over(_resource_set, resources)


def _resource_set(resources: tuple[Resource, ...]) -> ResourceSet:
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    return ResourceSet(MappingProxyType({kind: MappingProxyType(named) for kind, named in by_type.items()}))
