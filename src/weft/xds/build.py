"""build_xds: a ProxyView compiled to an XdsSnapshot, in layers that proxies with equal views share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.services.backends import Targets
from weft.mesh.services.service import Backend, Protocol, Target
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
        times = memo(_tunnel_times, memo, view.outbound.tunnels, view.targets) if view.outbound.tunnels else ()
        outbound = memo(_outbound_layer, memo, view.outbound, times)
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
    encoded = memo.rows(encode_target, (targets.all,), trust_domain)
    return _set_of_targets(memo.table(_cluster, encoded), memo.table(_endpoints, encoded))


def _encoded_set(encoded: tuple[Encoded, ...]) -> ResourceSet:
    endpoints = (pair for each in encoded for pair in _endpoints(each))
    return _set_of_targets(dict(pair for each in encoded for pair in _cluster(each)), dict(endpoints))


def _set_of_targets(clusters: Mapping[str, Resource], endpoints: Mapping[str, Resource]) -> ResourceSet:
    return ResourceSet(MappingProxyType({CLUSTER: MappingProxyType(clusters), ENDPOINTS: MappingProxyType(endpoints)}))


def encode_target(memo: Memo, target: Target, trust_domain: str) -> Encoded:
    """A backend's cluster and endpoints."""
    cluster = memo(encode_backend, target.backend, trust_domain)
    return cluster, None if target.endpoints is None else memo(encode_endpoints, target.endpoints)


def _cluster(encoded: Encoded) -> Iterable[tuple[str, Resource]]:
    return ((encoded[0].name, encoded[0]),)


def _endpoints(encoded: Encoded) -> Iterable[tuple[str, Resource]]:
    return () if encoded[1] is None else ((encoded[1].name, encoded[1]),)


def _outbound_layer(memo: Memo, view: OutboundView, times: tuple[TcpTimes, ...]) -> ResourceSet:
    """What all sidecars of one OutboundView share. `times` are those of its tunnels."""
    resources = [
        memo(encode_http_tunnel),
        memo(encode_outbound_routes, memo, view, times),
        memo(encode_tunnel_listener, view.on_demand),
    ]
    if view.allow_any:
        resources.append(memo(encode_forward_proxy, view.connect_timeout))
    return memo.over(_resource_set, resources)


def _tunnel_times(memo: Memo, tunnels: tuple[Tunnel, ...], view: TargetsView) -> tuple[TcpTimes, ...]:
    """How long the connections of each tunnel may last, by the policy of its first backend."""
    own = {target.backend.key: target for target in view.own}
    base = view.base.by_key if view.base is not None else own
    found = [tunnel.route.backends[0].backend for tunnel in tunnels]
    targets = [own.get(key) or base.get(key) for key in found]
    return tuple([_times(memo, target.backend if target else None) for target in targets])


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
        resources.append(memo(encode_proxy_listener, where, outbound.on_demand))
    for upstream in view.upstreams:
        resources.extend(_upstream(memo, upstream, view.trust_domain, outbound.on_demand))
    return memo.over(_resource_set, resources)


def _times(memo: Memo, backend: Backend | None) -> TcpTimes:
    return DEFAULT_TIMES if backend is None else memo(tcp_times, backend.policy.limits)


def _upstream(memo: Memo, upstream: UpstreamPort, trust_domain: str, on_demand: bool) -> Iterable[Resource]:
    yield memo(encode_upstream, upstream, _times(memo, upstream.backend), on_demand)
    if upstream.virtual_host is not None:
        yield memo(encode_upstream_routes, memo, upstream.virtual_host, upstream.host)
    if upstream.protocol is Protocol.AUTO:
        yield memo(encode_backend, upstream.backend, trust_domain, True)


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
