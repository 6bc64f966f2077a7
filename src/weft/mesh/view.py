"""The view of one proxy: what it may see and must do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.attachment import NamespaceAccess, gateway_accesses, port_accesses
from weft.mesh.access.tokens import key_servers
from weft.mesh.gateways.datagrams import build_datagrams
from weft.mesh.gateways.view import build_gateway_view
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.patches import NO_PATCHES, Patches
from weft.mesh.policies.authorizers import Authorizers, ask, asked_keys
from weft.mesh.policies.federatedtrustdomain import foreign_trust
from weft.mesh.policies.ratelimitpolicy import RateLimits, limit_ports
from weft.mesh.policies.servicepolicies import overloads_of
from weft.mesh.policies.sidecar import NO_SIDECAR, SidecarPolicy, join, with_sidecar
from weft.mesh.policies.telemetry import signals_of
from weft.mesh.routes.connections import NO_CONNECTIONS, Connections
from weft.mesh.routes.deserted import without_deserted
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.addresses import Addresses
from weft.mesh.services.backends import CallerTargets, build_caller_targets, place_targets, placed_targets
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.credentials import credentials_of, names_of_rules
from weft.mesh.services.service import Backend, BackendKey, Frontend, FrontendPort, Protocol, Target
from weft.mesh.services.workloads import gateway_of
from weft.mesh.services.zones import peers_of
from weft.mesh.sidecars.capture import build_captured, capture_entries, instance_keys
from weft.mesh.sidecars.inbound import build_inbound, with_accesses, with_http10, with_overloads
from weft.mesh.sidecars.names import build_names
from weft.mesh.sidecars.outbound import (
    CallerRoutes,
    Entry,
    Outbound,
    build_caller_routes,
    build_outbound,
    port_connections,
)
from weft.mesh.sidecars.scope import EVERYTHING, CallScope, build_scope
from weft.mesh.signals import PlainKey, Signals, collector_keys, for_envoy, unless_collector
from weft.mesh.views import (
    Captured,
    Credential,
    InboundPort,
    OutboundView,
    ProxyView,
    SidecarView,
    TargetsView,
    UpstreamPort,
)
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.locality import with_topology
from weft.model.names import NameTable
from weft.model.snapshot import MeshSettings, OutboundPolicy
from weft.model.workload import Scope, Upstream, Workload


@dataclass(frozen=True, slots=True, eq=False)
class Callers:
    """What the sidecars of one namespace and source class share: the backends, and the rules by which they call."""

    targets: CallerTargets
    routes: CallerRoutes


def build_view(mesh: Mesh, workload: Workload, memo: Memo) -> ProxyView:
    """What the proxy of `workload` may see and must do. Proxies that see alike share their views' large parts."""
    view = _build_view(mesh, workload, memo)
    patches = mesh.filters.of(memo, workload) if mesh.filters.in_force else NO_PATCHES
    return memo(_patched, view, patches) if patches.all else view


def _patched(view: ProxyView, patches: Patches) -> ProxyView:
    return replace(view, patches=patches)


def _build_view(mesh: Mesh, workload: Workload, memo: Memo) -> ProxyView:
    settings, catalog, namespace = mesh.settings, mesh.catalog, workload.namespace
    said = signals_of(memo, mesh.telemetries, workload, catalog)
    outgoing, incoming = said.outgoing.signals, said.incoming.signals
    if workload.envoy:
        outgoing, incoming = memo(for_envoy, outgoing, workload.envoy), memo(for_envoy, incoming, workload.envoy)
    collectors = collector_keys(outgoing, incoming)
    if workload.gateway is not None:
        targets = _targets(memo, mesh, workload)
        gateway = mesh.gateways.by_name.get(gateway_of(workload))
        longest, selectors = mesh.defaults.gateway_request, mesh.routes.selectors
        access = _edge_access(memo, mesh, workload)
        told = tuple(dict.fromkeys((*collectors, *_servers(each for _, each in access))))
        edge = (settings.trust_domain, longest, outgoing, told)
        return build_gateway_view(
            memo,
            workload,
            gateway,
            selectors,
            targets,
            *edge,
            access,
            mesh.guards,
            settings.trust_epoch,
            mesh.credentials,
            mesh.limits,
            build_datagrams(memo, workload, gateway, mesh.services, access) if gateway is not None else (),
            catalog,
            mesh.proxies.of(workload).http10,
        )
    wanted = mesh.routes.selectors
    selectors = tuple([each for each in wanted if selects(each, workload.labels)]) if wanted else ()
    routes = memo(build_caller_routes, memo, mesh.routes, catalog, mesh.entries, mesh.defaults, namespace, selectors)
    callers = memo(Callers, _targets(memo, mesh, workload), routes)
    sidecar = memo(join, mesh.sidecars.of(workload)) if mesh.sidecars.policies else NO_SIDECAR
    allow_any = settings.outbound_policy == OutboundPolicy.ALLOW_ANY if sidecar.allow_any is None else sidecar.allow_any
    scope = _scope(memo, mesh, workload, sidecar)
    asks = workload.scope is not Scope.ALL and not workload.uses
    frontends = memo(_selecting, catalog, workload)
    space = mesh.access.of(namespace)
    asked = memo(_asked, memo, space, settings.trust_domain, frontends, workload, mesh.guards.authorizers, mesh.limits)
    told = tuple(dict.fromkeys((*collectors, *asked.servers))) if asked.servers else collectors
    by_address = mesh.addresses if workload.captures else None
    seen, outbound = memo(_shared_views, memo, callers, catalog, scope, asks, allow_any, settings, told, by_address)
    outbound = without_deserted(memo, outbound, seen)
    if collectors:
        incoming = memo(unless_collector, incoming, tuple([frontend.host for frontend in frontends]))
    inbound = _inbound(memo, mesh, workload, frontends, asked, sidecar)
    upstreams = _upstreams(memo, catalog, workload, callers) if workload.upstreams else ()
    credentials = _credentials(memo, mesh, workload) if mesh.destination_rules.selecting else ()
    names = _names(memo, mesh, workload, scope) if workload.dns else None
    captured = _captured(memo, mesh, callers, scope) if workload.captures else None
    own = (credentials, mesh.proxies.of(workload).http10, names, captured)
    return memo(_sidecar, workload, inbound, upstreams, seen, outbound, settings, outgoing, incoming, *own)


def _inbound(
    memo: Memo,
    mesh: Mesh,
    workload: Workload,
    frontends: tuple[Frontend, ...],
    asked: Asked,
    sidecar: SidecarPolicy,
) -> tuple[InboundPort, ...]:
    """The ports of a workload, with everything that holds there."""
    namespace, domains, policies = workload.namespace, mesh.federation.domains, mesh.service_policies
    overlap = mesh.overlap.of(namespace) if mesh.overlap else None
    trust = memo(foreign_trust, domains, mesh.settings.trust_domain, namespace) if domains else None
    inbound = memo.over(build_inbound, frontends, workload, mesh.peers.of(namespace), overlap, trust, mesh.refused)
    if policies.overloads:
        inbound = memo.over(with_overloads, inbound, memo(overloads_of, policies, frontends, workload))
    if mesh.proxies.of(workload).http10:
        inbound = memo.over(with_http10, inbound)
    if asked.anything:
        inbound = memo.over(with_accesses, inbound, asked.accesses)
    if sidecar.ingress is not None or sidecar.pool is not None:
        inbound = memo.over(with_sidecar, inbound, memo, sidecar)
    return inbound


def _names(memo: Memo, mesh: Mesh, workload: Workload, scope: CallScope) -> NameTable:
    """The names of what its applications may call."""
    instances = [mesh.services.by_host[host] for host in mesh.addresses.headless]
    return memo.over(build_names, instances, memo, mesh.catalog, mesh.addresses, scope, workload.namespace)


def _captured(memo: Memo, mesh: Mesh, callers: Callers, scope: CallScope) -> Captured:
    """What captured connections of its applications may be for."""
    found = capture_entries(memo, scope.entries(memo, callers.routes, mesh.catalog), mesh.catalog, mesh.addresses)
    hosts = mesh.addresses.headless if scope.hosts is None else set(scope.hosts).intersection(mesh.addresses.headless)
    headless = [mesh.services.by_host[host] for host in sorted(hosts)]
    keys, targets = instance_keys(headless), callers.targets
    told = (*_found(targets, [key for key in keys if not key.opaque]), *targets.carried(memo, keys))
    ports = memo.same([port for each in found for port in each.ports])
    return memo(build_captured, ports, memo.same([target.backend for target in told]), *headless)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is asked before the ports of a workload, and the Services of the mesh that its proxy asks about that."""

    accesses: tuple[Access, ...]
    servers: tuple[PlainKey, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether there is anything to ask at all."""
        return any(access is not OPEN for access in self.accesses)


def _asked(
    memo: Memo,
    space: NamespaceAccess,
    trust_domain: str,
    frontends: tuple[Frontend, ...],
    workload: Workload,
    authorizers: Authorizers,
    limits: RateLimits,
) -> Asked:
    """One look for each proxy and build, also where no document asks anything."""
    accesses = port_accesses(memo, space, trust_domain, frontends, workload)
    accesses = ask(memo, accesses, authorizers, frontends)
    accesses = limit_ports(memo, accesses, limits, frontends, workload)
    return Asked(accesses, (*_servers(accesses), *asked_keys(accesses)))


def _servers(accesses: Iterable[Access]) -> tuple[PlainKey, ...]:
    """The services of the mesh that a proxy asks for keys: it is told of them before anybody asks."""
    servers = key_servers(policy for access in dict.fromkeys(accesses) for policy in access.tokens)
    return tuple(
        (server.backend.host, server.backend.port, server.backend.subset) for server in servers if server.backend
    )


def _edge_access(memo: Memo, mesh: Mesh, workload: Workload) -> tuple[tuple[int, Access], ...]:
    """What is asked at each port of a gateway proxy."""
    name, access = gateway_of(workload), mesh.access
    gateway = mesh.gateways.by_name.get(name)
    ports = tuple(sorted(gateway.hosts)) if gateway is not None else ()
    of_class, space = access.classes.get(name, ""), access.of(workload.namespace)
    found = memo(gateway_accesses, memo, space, access.trust_domain, of_class, workload, ports)
    found = memo(ask, memo, found, mesh.guards.authorizers, ())
    return tuple(zip(ports, found, strict=True))


def _targets(memo: Memo, mesh: Mesh, workload: Workload) -> CallerTargets:
    """The backends as a caller uses them. Those of namespaces without DestinationRules of their own see the same, and
    so do those that run at one place, or at any where no policy asks for it; where zones count, those of one service
    there."""
    rules, namespace = mesh.destination_rules, workload.namespace
    chosen = rules.chosen(namespace, workload.labels) if rules.selecting else ()
    shared = namespace if rules.concerns(namespace) else ""
    found = memo(build_caller_targets, memo, mesh.targets, mesh.services, rules, shared, mesh.service_policies, chosen)
    placed = memo(placed_targets, found)
    if placed is None:
        return found
    place = workload.place
    labels = [(name, value) for name, value in with_topology(workload.labels, place) if name in placed.labels]
    peers = peers_of(memo, mesh.workloads, workload) if placed.zoned else ()
    return memo(place_targets, memo, found, placed, str(place), tuple(labels), peers)


def _credentials(memo: Memo, mesh: Mesh, workload: Workload) -> tuple[Credential, ...]:
    """What a sidecar shows and believes outside: what the DestinationRules that select it name, and no more."""
    chosen = mesh.destination_rules.chosen(workload.namespace, workload.labels)
    return memo(credentials_of, mesh.credentials, workload.namespace, memo(names_of_rules, chosen)) if chosen else ()


def _shared_views(
    memo: Memo,
    callers: Callers,
    catalog: Catalog,
    scope: CallScope,
    asks: bool,
    allow_any: bool,
    settings: MeshSettings,
    collectors: tuple[PlainKey, ...],
    by_address: Addresses | None,
) -> tuple[TargetsView, OutboundView]:
    """What all sidecars of a class with the same scope are told about others. Those of a listener's `collectors` that
    are services are told before anybody asks: the listener is not taken without them. Proxies that ask (`asks`) for
    what they use are told at once what a document lets them use; their listeners ask as before, so that a Sidecar that
    comes or goes replaces none and what it takes from the eager ones is found again. `by_address`: calls come by the
    addresses of services, too."""
    on_demand = asks and not scope.given
    routes, connect_timeout = callers.routes, callers.targets.base.connect_timeout
    outbound = memo(_outbound, memo, routes, catalog, scope, allow_any, asks, connect_timeout, by_address)
    always = tuple(BackendKey(*key) for key in collectors)
    if scope.given or (scope.hosts is not None and not on_demand):
        keys = tuple(sorted({*outbound.backends, *always}))
        seen = memo.over(_some, _found(callers.targets, keys), settings)
    else:
        told = _found(callers.targets, tuple(sorted({*outbound.mirrors, *always}))) if on_demand else ()
        seen = memo.over(_everything, told, callers.targets, settings, on_demand)
    if outbound.carried:
        seen = memo.over(_carrying, callers.targets.carried(memo, outbound.carried), seen)
    return seen, outbound.view


def _found(targets: CallerTargets, keys: Iterable[BackendKey]) -> list[Target]:
    return [target for key in keys if (target := targets.get(key)) is not None]


def _outbound(
    memo: Memo,
    routes: CallerRoutes,
    catalog: Catalog,
    scope: CallScope,
    allow_any: bool,
    on_demand: bool,
    connect_timeout: float | None,
    by_address: Addresses | None,
) -> Outbound:
    entries = scope.entries(memo, routes, catalog)
    if by_address is not None:
        entries = [each.entry for each in capture_entries(memo, entries, catalog, by_address)]
    captures = by_address is not None
    return memo.over(build_outbound, entries, allow_any, on_demand, connect_timeout, scope.refused, captures)


def _selecting(catalog: Catalog, workload: Workload) -> tuple[Frontend, ...]:
    return catalog.selecting(workload.namespace, workload.labels)


def _scope(memo: Memo, mesh: Mesh, workload: Workload, sidecar: SidecarPolicy) -> CallScope:
    """What a workload's proxy is told of. Most are told of everything."""
    if not workload.uses and sidecar.egress is None and not mesh.catalog.restricted:
        return EVERYTHING
    upstreams = tuple([upstream.service for upstream in workload.upstreams])
    outside = mesh.routes.seen(workload.namespace, workload.namespace).outside_hosts if workload.uses else ()
    return memo(build_scope, memo, mesh.catalog, outside, workload.namespace, workload.uses, upstreams, sidecar.egress)


def _everything(
    told: tuple[Target, ...], targets: CallerTargets, settings: MeshSettings, on_demand: bool
) -> TargetsView:
    own = tuple(targets.own.values())
    return TargetsView(targets.base, own, settings.trust_domain, on_demand, told, settings.trust_epoch)


def _some(found: tuple[Target, ...], settings: MeshSettings) -> TargetsView:
    return TargetsView(None, found, settings.trust_domain, trust_epoch=settings.trust_epoch)


def _carrying(carried: tuple[Target, ...], seen: TargetsView) -> TargetsView:
    return replace(seen, carried=carried)


def _sidecar(
    workload: Workload,
    inbound: tuple[InboundPort, ...],
    upstreams: tuple[UpstreamPort, ...],
    targets: TargetsView,
    outbound: OutboundView,
    settings: MeshSettings,
    outgoing: Signals,
    incoming: Signals,
    credentials: tuple[Credential, ...],
    http10: bool,
    names: NameTable | None,
    captured: Captured | None,
) -> SidecarView:
    return SidecarView(
        proxy=workload.proxy,
        identity=SpiffeId(settings.trust_domain, workload.namespace, workload.service_account),
        inbound=inbound,
        proxy_listen=workload.outbound,
        upstreams=upstreams,
        targets=targets,
        outbound=outbound,
        trust_domain=settings.trust_domain,
        outgoing=outgoing,
        incoming=incoming,
        secret=workload.proxy_secret,
        trust_epoch=settings.trust_epoch,
        credentials=credentials,
        http10=http10,
        names=names,
        capture=workload.capture,
        captured=captured,
        inbound_capture=workload.inbound_capture,
        transparent=workload.transparent,
    )


def _upstreams(memo: Memo, catalog: Catalog, workload: Workload, callers: Callers) -> tuple[UpstreamPort, ...]:
    """The declared loopback ports whose service and port exist; `workload_problems` tells about the others."""
    found: list[UpstreamPort] = []
    for upstream in workload.upstreams:
        frontend = catalog.find(upstream.service, workload.namespace)
        port = frontend.port(upstream.port) if frontend else None
        if frontend is None or port is None or callers.targets.get(BackendKey(frontend.host, port.number)) is None:
            continue
        entry = callers.routes.entries((frontend.host,))[0]
        host = next((each for each in entry.virtual_hosts if each.port == port.number), None)
        connections, backends = _carried(memo, frontend, port, entry, callers.targets)
        found.append(memo.over(_upstream, backends, upstream, frontend, port, host, connections))
    return tuple(found)


def _carried(
    memo: Memo, frontend: Frontend, port: FrontendPort, entry: Entry, targets: CallerTargets
) -> tuple[Connections, list[Backend]]:
    """Where what is not HTTP goes from a loopback port, and the backends there."""
    if port.protocol not in (Protocol.TCP, Protocol.AUTO):
        return NO_CONNECTIONS, []
    connections = entry.connections(port.number) or memo.over(port_connections, (), frontend, port)
    keys = connections.backends()
    return connections, [
        target.backend
        for target in (*_found(targets, [key for key in keys if not key.opaque]), *targets.carried(memo, keys))
    ]


def _upstream(
    backends: tuple[Backend, ...],
    upstream: Upstream,
    frontend: Frontend,
    port: FrontendPort,
    host: VirtualHost | None,
    connections: Connections,
) -> UpstreamPort:
    return UpstreamPort(
        upstream.listen, frontend.called, port.number, port.protocol, host, connections, tuple(backends)
    )
