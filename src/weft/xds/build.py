"""build_xds: a ProxyView compiled to an XdsSnapshot, in layers that proxies with equal views share."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.services.service import Backend, EndpointSet, Protocol
from weft.mesh.views import GatewayView, OutboundView, ProxyView, SidecarView, UpstreamPort
from weft.xds.check import check_layers
from weft.xds.gateways.gateway import encode_certificate, encode_gateway_listener, encode_gateway_routes
from weft.xds.services.cluster import (
    encode_application,
    encode_backend,
    encode_forward_proxy,
    encode_http_tunnel,
)
from weft.xds.services.endpoints import encode_endpoints
from weft.xds.sidecars.inbound import encode_inbound
from weft.xds.sidecars.outbound import encode_outbound_routes, encode_proxy_listener, encode_tunnel_listener
from weft.xds.sidecars.upstreams import encode_upstream, encode_upstream_routes
from weft.xds.snapshot import Resource, ResourceSet, XdsSnapshot


def build_xds(view: ProxyView, revision: int, memo: Memo) -> XdsSnapshot:
    """Everything the proxy of `view` is entitled to.

    Resources made from unchanged nodes are the same objects as in the build before, and layers of which nothing
    changed too. The snapshot's problems name what its resources refer to and nobody defines.
    """
    if isinstance(view, SidecarView):
        layers = (memo(_outbound_layer, view.outbound, memo), _sidecar_layer(view, memo))
    else:
        layers = (
            memo(_backend_layer, view.backends, view.endpoints, view.trust_domain, memo),
            memo(_gateway_layer, view, memo),
        )
    return XdsSnapshot(revision, layers, memo(check_layers, layers, memo))


def _outbound_layer(view: OutboundView, memo: Memo) -> ResourceSet:
    """What all sidecars of one OutboundView share: all but their own addresses."""
    resources = [
        *_backends(view.backends, view.endpoints, view.trust_domain, memo),
        memo(encode_http_tunnel),
        memo(encode_outbound_routes, view.name, view.virtual_hosts, view.tunnels, view.allow_any, memo),
        memo(encode_tunnel_listener, view.name, view.allow_any),
    ]
    if view.allow_any:
        resources.append(memo(encode_forward_proxy))
    return memo(_resource_set, tuple(resources))


def _sidecar_layer(view: SidecarView, memo: Memo) -> ResourceSet:
    """A sidecar's own: the application's ports, the proxy listener, upstreams. Endpoints of others do not touch it."""
    outbound = view.outbound
    resources: list[Resource] = []
    for port in view.inbound:
        resources.append(memo(encode_application, port))
        resources.append(memo(encode_inbound, port, outbound.trust_domain))
    if view.proxy_listen is not None:
        resources.append(memo(encode_proxy_listener, view.proxy_listen, outbound.name, outbound.allow_any))
    for upstream in view.upstreams:
        resources.extend(_upstream(upstream, outbound, memo))
    return memo.over(_resource_set, resources)


def _upstream(upstream: UpstreamPort, outbound: OutboundView, memo: Memo) -> Iterable[Resource]:
    yield memo(encode_upstream, upstream)
    if upstream.protocol is not Protocol.TCP:
        for host in outbound.virtual_hosts:
            if host.port == upstream.port and upstream.host in host.domains:
                yield memo(encode_upstream_routes, host, upstream.host, memo)
                break
    if upstream.protocol is Protocol.AUTO:
        for backend in outbound.backends:
            if backend.name == upstream.backend:
                yield memo(encode_backend, backend, outbound.trust_domain, True)


def _gateway_layer(view: GatewayView, memo: Memo) -> ResourceSet:
    """A gateway's listeners, routes and certificates."""
    resources = [memo(encode_certificate, certificate) for certificate in view.certificates]
    for port in view.ports:
        listener = memo(encode_gateway_listener, port)
        if listener is not None:
            resources.append(listener)
            resources.append(memo(encode_gateway_routes, port, memo))
    return memo(_resource_set, tuple(resources))


def _backend_layer(
    backends: tuple[Backend, ...], endpoints: tuple[EndpointSet, ...], trust_domain: str, memo: Memo
) -> ResourceSet:
    return memo(_resource_set, tuple(_backends(backends, endpoints, trust_domain, memo)))


def _backends(
    backends: tuple[Backend, ...], endpoints: tuple[EndpointSet, ...], trust_domain: str, memo: Memo
) -> list[Resource]:
    """Clusters and endpoints, one resource per node. A backend resolved by DNS has no endpoints of ours."""
    by_dns = {backend.name for backend in backends if backend.external_name}
    resources = [memo(encode_backend, backend, trust_domain) for backend in backends]
    resources += [memo(encode_endpoints, each) for each in endpoints if each.backend not in by_dns]
    return resources


def _resource_set(resources: tuple[Resource, ...]) -> ResourceSet:
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    return ResourceSet(MappingProxyType({kind: MappingProxyType(named) for kind, named in by_type.items()}))
