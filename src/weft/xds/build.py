"""build_xds: a ProxyView compiled to an XdsSnapshot, in layers that proxies with equal views share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.guard import Server, servers_of
from weft.mesh.access.tokens import key_servers
from weft.mesh.memo import Memo
from weft.mesh.services.backends import Targets
from weft.mesh.services.service import Backend, BackendKey, Protocol, Target
from weft.mesh.signals import Signals
from weft.mesh.views import (
    Captured,
    Credential,
    GatewayPort,
    GatewayView,
    OutboundView,
    ProxyView,
    SidecarView,
    TargetsView,
    Tunnel,
    UpstreamPort,
)
from weft.model.problem import Problem
from weft.xds.check import check_layers
from weft.xds.filters.oauth2 import encode_login_secrets
from weft.xds.gateways.chains import encode_passed
from weft.xds.gateways.datagrams import DATAGRAMS
from weft.xds.gateways.gateway import (
    encode_certificate,
    encode_client_roots,
    encode_gateway_extensions,
    encode_gateway_listener,
    encode_gateway_routes,
    encode_http3_listener,
)
from weft.xds.names import encode_names
from weft.xds.patches.apply import apply_patches
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes, tcp_times, times_of
from weft.xds.policies.federation import encode_trust
from weft.xds.policies.tls import encode_credential
from weft.xds.routes.requirements import logins_of, servers_asked
from weft.xds.services.cluster import (
    encode_application,
    encode_backend,
    encode_forward_proxy,
    encode_http_tunnel,
    encode_nowhere,
)
from weft.xds.services.endpoints import encode_endpoints
from weft.xds.services.names import cluster_name
from weft.xds.sidecars.capture import encode_capture, encode_direct, encode_passthrough, encode_shared_capture
from weft.xds.sidecars.inbound import encode_inbound, encode_inbound_extensions, encode_inbound_routes
from weft.xds.sidecars.inbound_capture import encode_inbound_capture
from weft.xds.sidecars.outbound import encode_outbound_routes, encode_proxy_listener, encode_tunnel_listener
from weft.xds.sidecars.tunnels import encode_tls_tunnel, encode_tunnel_cluster, leads_inside
from weft.xds.sidecars.upstreams import encode_upstream, encode_upstream_routes
from weft.xds.signals.collectors import collectors_used, encode_collector
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
    layers, problems = memo(build_layers, memo, view)
    table = view.names if isinstance(view, SidecarView) else None
    return XdsSnapshot(revision, layers, problems, memo(encode_names, table) if table is not None else None)


def build_layers(memo: Memo, view: ProxyView) -> tuple[tuple[ResourceSet, ...], tuple[Problem, ...]]:
    """The layers of a view, and the problems of what they refer to."""
    targets = memo(_target_layers, memo, view.targets)
    if isinstance(view, SidecarView):
        backends = memo(_backends, memo, view.targets) if view.outbound.tunnels else _NONE
        outbound = memo(_outbound_layer, memo, view.outbound, backends)
        layers: tuple[ResourceSet, ...] = (*targets, outbound, _sidecar_layer(memo, view))
    else:
        layers = (*targets, memo(_gateway_layer, memo, view))
    if view.patches.all:
        layers = apply_patches(memo, layers, view.patches, _gateway_of(view)).layers
    return layers, check_layers(memo, layers)


def _gateway_of(view: ProxyView) -> str:
    return view.gateway if isinstance(view, GatewayView) else ""


def _target_layers(memo: Memo, view: TargetsView) -> tuple[ResourceSet, ...]:
    """All targets; those that are told all the same where they are on demand, and those to which connections are
    carried as they are, stand in a second layer."""
    everything = _targets_layer(memo, view)
    trust = (view.trust_domain, view.trust_epoch)
    carried = [memo(encode_backend, target.backend, *trust) for target in view.carried]
    if not view.on_demand:
        return (everything, memo.over(_resource_set, carried)) if carried else (everything,)
    names = [cluster_name(target.backend.key) for target in view.told]
    told = [named[name] for name in names for named in everything.by_type.values() if name in named]
    return memo(_on_demand, everything), memo.over(_resource_set, [*told, *carried])


def _on_demand(layer: ResourceSet) -> ResourceSet:
    return ResourceSet(layer.by_type, on_demand=True)


def _targets_layer(memo: Memo, view: TargetsView) -> ResourceSet:
    """Clusters and endpoints. What is the same for all proxies is encoded once, and patched where it changes."""
    trust = (view.trust_domain, view.trust_epoch)
    if view.base is None:
        return memo.over(_encoded_set, [memo(encode_target, memo, each, *trust) for each in view.own])
    base = memo(_base_layer, memo, view.base, *trust)
    if not view.own:
        return base
    clusters, endpoints = dict(base.of_type(CLUSTER)), dict(base.of_type(ENDPOINTS))
    for target in view.own:
        cluster, members = memo(encode_target, memo, target, *trust)
        clusters[cluster.name] = cluster
        if members is not None:
            endpoints[members.name] = members
    return _set_of_targets(clusters, endpoints)


def _base_layer(memo: Memo, targets: Targets, trust_domain: str, trust_epoch: int) -> ResourceSet:
    """The clusters stay the same mapping while only endpoints change, and so does what is made of it."""
    encoded = memo.rows(encode_target, (targets.all,), trust_domain, trust_epoch)
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


def encode_target(memo: Memo, target: Target, trust_domain: str, trust_epoch: int = 0) -> Encoded:
    """A backend's cluster and endpoints."""
    cluster = memo(encode_backend, target.backend, trust_domain, trust_epoch)
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
    ]
    if view.allow_any:
        resources.append(memo(encode_forward_proxy, view.connect_timeout))
    inside = [tunnel for tunnel, its in zip(view.tunnels, times, strict=True) if leads_inside(tunnel, its)]
    resources += [memo(encode_tunnel_cluster, tunnel) for tunnel in inside]
    if memo(_closes, view):
        resources.append(memo(encode_nowhere))
    return memo.over(_resource_set, resources)


def _led_inside(memo: Memo, view: OutboundView, backends: Backends) -> tuple[Tunnel, ...]:
    """The tunnels that have a listener of their own: asked once for all that share the view."""
    found = [(tunnel, _tunnel_times(memo, tunnel, backends)) for tunnel in view.tunnels]
    return tuple([tunnel for tunnel, times in found if leads_inside(tunnel, times)])


def _closes(view: OutboundView) -> bool:
    return any(tunnel.connections.closes for tunnel in view.tunnels)


def _tunnel_times(memo: Memo, tunnel: Tunnel, backends: Backends) -> TcpTimes:
    """How long its connections may last, by the policy of its first backend."""
    route = tunnel.connections.otherwise
    first = next(iter(route.used()), None) if route is not None else None
    return DEFAULT_TIMES if first is None else _times(memo, backends.get(first._replace(opaque=False)))


def _sidecar_layer(memo: Memo, view: SidecarView) -> ResourceSet:
    """A sidecar's own: the application's ports, the proxy listener, upstreams. Endpoints of others do not touch it."""
    outbound = view.outbound
    http10 = view.http10
    resources = [memo(encode_tunnel_listener, view.outgoing, outbound.on_demand, http10)]
    for port in view.inbound:
        plain = port.unasked or port
        by_access = port.protocol in (Protocol.TCP, Protocol.AUTO)
        resources.append(memo(encode_application, plain))
        asked = port if by_access else plain
        resources.append(memo(encode_inbound, asked, view.trust_domain, view.incoming, view.trust_epoch))
        if port.protocol is not Protocol.TCP:
            resources.append(memo(encode_inbound_routes, port))
            resources.extend(memo(encode_inbound_extensions, port))
    if view.proxy_listen is not None:
        given = (view.proxy, view.outgoing, outbound.on_demand, view.secret, http10)
        resources.append(memo(encode_proxy_listener, view.proxy_listen, *given))
    if outbound.tunnels:
        resources.extend(_tls_tunnels(memo, view))
    closing = any(upstream.connections.closes for upstream in view.upstreams)
    if (closing or view.captured is not None or view.inbound_capture) and not memo(_closes, outbound):
        resources.append(memo(encode_nowhere))
    for upstream in view.upstreams:
        resources.extend(_upstream(memo, view, upstream))
    if view.inbound_capture:
        resources.append(memo(encode_inbound_capture, view.inbound_capture, view.transparent))
    if view.captured is not None:
        resources.extend(_capture(memo, view, view.captured))
    resources.extend(_outside(memo, collectors_used((view.outgoing, view.incoming))))
    resources.extend(memo(encode_trust, trust) for trust in {port.trust for port in view.inbound} if trust is not None)
    resources.extend(_asked_outside(memo, [port.access for port in view.inbound]))
    resources.extend(_credentials(memo, view.credentials))
    return memo.over(_resource_set, resources)


def _tls_tunnels(memo: Memo, view: SidecarView) -> Iterable[Resource]:
    """The listeners for what is inside of CONNECTs that routes cannot pass on."""
    backends = memo(_backends, memo, view.targets)
    for tunnel in memo(_led_inside, memo, view.outbound, backends):
        times = tuple(times_of(backends, route) for route in tunnel.connections.routes())
        yield memo.over(_tls_tunnel, times, tunnel, view.outgoing, view.outbound.on_demand)


def _tls_tunnel(times: tuple[TcpTimes, ...], tunnel: Tunnel, signals: Signals, on_demand: bool) -> Resource:
    return encode_tls_tunnel(tunnel, times, signals, on_demand)


def _capture(memo: Memo, view: SidecarView, captured: Captured) -> Iterable[Resource]:
    """The listener of captured connections, and the clusters that only they are led to."""
    backends = memo(_backends, memo, view.targets)
    allow_any, on_demand = view.outbound.allow_any, view.outbound.on_demand
    own_port = view.capture[0].port if view.capture else 0
    shared = (captured, backends, view.outgoing, on_demand, own_port)
    found = memo(encode_shared_capture, memo, *shared)
    yield memo(encode_capture, found, view.capture, view.proxy, view.outgoing, allow_any, on_demand, view.http10)
    yield memo(encode_passthrough, view.outbound.connect_timeout)
    for backend in captured.direct:
        direct = memo(encode_direct, backend, view.trust_domain, view.trust_epoch)
        if direct is not None:
            yield direct
    for tunnel in [port.inside for port in captured.ports if port.inside is not None]:
        times = tuple(times_of(backends, route) for route in tunnel.connections.routes())
        yield memo(encode_tunnel_cluster, tunnel)
        yield memo.over(_tls_tunnel, times, tunnel, view.outgoing, view.outbound.on_demand)


def _times(memo: Memo, backend: Backend | None) -> TcpTimes:
    if backend is None:
        return DEFAULT_TIMES
    policy = backend.policy
    return memo(tcp_times, policy.limits, policy.tunnel, policy.by_post)


def _upstream(memo: Memo, view: SidecarView, upstream: UpstreamPort) -> Iterable[Resource]:
    yield memo(encode_upstream, upstream, view.proxy, view.outgoing, view.outbound.on_demand, view.http10)
    if upstream.virtual_host is not None:
        yield memo(encode_upstream_routes, memo, upstream.virtual_host, upstream.host)
    carried = {target.backend.key for target in view.targets.carried}
    for backend in upstream.backends:
        if backend.key.opaque and backend.key not in carried:
            yield memo(encode_backend, backend, view.trust_domain, view.trust_epoch)


def _outside(memo: Memo, servers: Iterable[Server]) -> Iterable[Resource]:
    """The clusters of servers outside the mesh: those that signals go to, and those that are asked about requests or
    for keys. Services of the mesh are among the targets."""
    for server, grpc in dict.fromkeys(servers):
        if server.backend is None:
            yield memo(encode_collector, server, grpc)


def _asked_outside(memo: Memo, every: Iterable[Access], others: Iterable[Server] = ()) -> Iterable[Resource]:
    """The clusters of those whom the proxy asks for what `every` Access says, and of `others` that it asks."""
    found = [access for access in every if access is not OPEN]
    about = [server for access in found for server in servers_of(access.authorizers)]
    keys = [(server, False) for server in key_servers(policy for access in found for policy in access.tokens)]
    return _outside(memo, (*others, *about, *keys))


def _gateway_layer(memo: Memo, view: GatewayView) -> ResourceSet:
    """A gateway's listeners, routes and certificates."""
    resources = [memo(encode_certificate, certificate) for certificate in view.certificates if certificate.chain]
    resources += [memo(encode_client_roots, roots) for roots in view.roots if roots.roots]
    resources += [memo(encode_passed, backend) for backend in view.passed]
    for port in view.ports:
        times = memo(_chain_times, memo, port, view.targets) if port.chains else ()
        resources.append(memo(encode_gateway_listener, port, view.signals, view.targets.trust_domain, times))
        if any(server.http3 for server in port.servers):
            resources.append(memo(encode_http3_listener, port, view.signals, view.targets.trust_domain))
        resources += [memo(encode_gateway_routes, memo, port, server) for server in port.servers]
        resources += [each for server in port.servers for each in memo(encode_gateway_extensions, port, server)]
    for opened in view.datagrams:
        resources += [memo(encode, opened) for encode in DATAGRAMS]
    hosts = [host for port in view.ports for server in port.servers for host in server.virtual_hosts]
    for login in dict.fromkeys(login for host in hosts for login in logins_of(host)):
        resources.extend(memo(encode_login_secrets, login))
    resources.extend(_outside(memo, collectors_used((view.signals,))))
    asked = [server for host in hosts for server in servers_asked(host)]
    resources.extend(_asked_outside(memo, [port.access for port in view.ports], asked))
    resources.extend(_credentials(memo, view.credentials))
    if any(chain.route.closes and not chain.automatic for port in view.ports for chain in port.chains):
        resources.append(memo(encode_nowhere))
    return memo.over(_resource_set, resources)


def _chain_times(memo: Memo, port: GatewayPort, view: TargetsView) -> tuple[TcpTimes, ...]:
    """Those of the chains of a port, each by the policy of its first backend."""
    backends = {target.backend.key._replace(opaque=False): target.backend for target in view.own}
    first = [next(iter(chain.route.used()), None) for chain in port.chains]
    return tuple([_times(memo, backends.get(key._replace(opaque=False)) if key else None) for key in first])


def _credentials(memo: Memo, credentials: Iterable[Credential]) -> Iterable[Resource]:
    """What the proxy shows and believes outside, as secrets."""
    return [each for credential in credentials for each in memo(_credential, credential)]


def _credential(credential: Credential) -> tuple[Resource, ...]:
    return tuple(encode_credential(credential))


def _resource_set(resources: tuple[Resource, ...]) -> ResourceSet:
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    return ResourceSet(MappingProxyType({kind: MappingProxyType(named) for kind, named in by_type.items()}))
