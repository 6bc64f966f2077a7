"""The view of one proxy: what it may see and must do."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.gateways.view import build_gateway_view
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.routes.rules import VirtualHost
from weft.mesh.services.backends import CallerTargets, build_caller_targets
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Backend, BackendKey, Frontend, FrontendPort, Target
from weft.mesh.services.workloads import gateway_of
from weft.mesh.sidecars.inbound import build_inbound
from weft.mesh.sidecars.outbound import (
    CallerRoutes,
    Outbound,
    build_caller_routes,
    build_outbound,
    layer4_route,
)
from weft.mesh.sidecars.refusals import refused_uses
from weft.mesh.views import (
    InboundPort,
    OutboundView,
    ProxyView,
    Refusal,
    SidecarView,
    TargetsView,
    UpstreamPort,
)
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.snapshot import OutboundPolicy
from weft.model.workload import Scope, Upstream, Workload


@dataclass(frozen=True, slots=True, eq=False)
class Callers:
    """What the sidecars of one namespace and source class share: the backends, and the rules by which they call."""

    targets: CallerTargets
    routes: CallerRoutes


def build_view(mesh: Mesh, workload: Workload, memo: Memo) -> ProxyView:
    """What the proxy of `workload` may see and must do. Proxies that see alike share their views' large parts."""
    settings, catalog, namespace = mesh.settings, mesh.catalog, workload.namespace
    if workload.gateway is not None:
        targets = _targets(memo, mesh, namespace)
        gateway = mesh.gateways.by_name.get(gateway_of(workload))
        longest, selectors = mesh.defaults.gateway_request, mesh.routes.selectors
        return build_gateway_view(memo, workload, gateway, selectors, targets, settings.trust_domain, longest)
    wanted = mesh.routes.selectors
    selectors = tuple([each for each in wanted if selects(each, workload.labels)]) if wanted else ()
    routes = memo(build_caller_routes, memo, mesh.routes, catalog, mesh.entries, mesh.defaults, namespace, selectors)
    callers = memo(Callers, _targets(memo, mesh, namespace), routes)
    allow_any = settings.outbound_policy == OutboundPolicy.ALLOW_ANY
    scope = memo(scope_of, catalog, namespace, _named(workload)) if workload.uses else None
    outside = mesh.routes.of(namespace).outside_hosts if workload.uses else ()
    refused = memo(refused_uses, memo, catalog, outside, namespace, workload.uses) if workload.uses else ()
    on_demand = scope is None and workload.scope is not Scope.ALL
    seen, outbound = memo(
        _shared_views, memo, callers, catalog, scope, refused, on_demand, allow_any, settings.trust_domain
    )
    overlap = mesh.overlap.of(namespace) if mesh.overlap else None
    frontends = memo(_selecting, catalog, workload)
    inbound = memo.over(build_inbound, frontends, workload, mesh.peers.of(namespace), overlap)
    upstreams = _upstreams(memo, catalog, workload, callers) if workload.upstreams else ()
    return memo(_sidecar, workload, inbound, upstreams, seen, outbound, settings.trust_domain)


def _targets(memo: Memo, mesh: Mesh, namespace: str) -> CallerTargets:
    """The backends as callers in `namespace` use them. Those without DestinationRules of their own see the same."""
    rules = mesh.destination_rules
    shared = namespace if namespace in rules.namespaces else ""
    return memo(build_caller_targets, memo, mesh.targets, mesh.services, rules, shared)


def _shared_views(
    memo: Memo,
    callers: Callers,
    catalog: Catalog,
    scope: tuple[str, ...] | None,
    refused: tuple[Refusal, ...],
    on_demand: bool,
    allow_any: bool,
    trust_domain: str,
) -> tuple[TargetsView, OutboundView]:
    """What all sidecars of a class with the same scope are told about others."""
    routes, connect_timeout = callers.routes, callers.targets.base.connect_timeout
    outbound = memo(_outbound, memo, routes, catalog, scope, refused, allow_any, on_demand, connect_timeout)
    if scope is not None:
        return memo.over(_some, _found(callers.targets, outbound.backends), trust_domain), outbound.view
    told = _found(callers.targets, outbound.mirrors) if on_demand else ()
    return memo.over(_everything, told, callers.targets, trust_domain, on_demand), outbound.view


def _found(targets: CallerTargets, keys: tuple[BackendKey, ...]) -> list[Target]:
    return [target for key in keys if (target := targets.get(key)) is not None]


def _outbound(
    memo: Memo,
    routes: CallerRoutes,
    catalog: Catalog,
    scope: tuple[str, ...] | None,
    refused: tuple[Refusal, ...],
    allow_any: bool,
    on_demand: bool,
    connect_timeout: float | None,
) -> Outbound:
    entries = routes.entries(catalog.hosts if scope is None else scope)
    return memo.over(build_outbound, entries, allow_any, on_demand, connect_timeout, refused)


def _selecting(catalog: Catalog, workload: Workload) -> tuple[Frontend, ...]:
    return catalog.selecting(workload.namespace, workload.labels)


def _named(workload: Workload) -> tuple[str, ...]:
    """The services that a workload says it uses, as written."""
    if not workload.upstreams:
        return workload.uses
    return (*workload.uses, *(upstream.service for upstream in workload.upstreams))


def scope_of(catalog: Catalog, namespace: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The full names of the services that workloads of a namespace `named`, sorted."""
    found = [catalog.find(name, namespace) for name in named]
    return tuple(sorted({frontend.host for frontend in found if frontend is not None}))


def _everything(told: tuple[Target, ...], targets: CallerTargets, trust_domain: str, on_demand: bool) -> TargetsView:
    return TargetsView(targets.base, tuple(targets.own.values()), trust_domain, on_demand, told)


def _some(found: tuple[Target, ...], trust_domain: str) -> TargetsView:
    return TargetsView(None, found, trust_domain)


def _sidecar(
    workload: Workload,
    inbound: tuple[InboundPort, ...],
    upstreams: tuple[UpstreamPort, ...],
    targets: TargetsView,
    outbound: OutboundView,
    trust_domain: str,
) -> SidecarView:
    return SidecarView(
        proxy=workload.proxy,
        identity=SpiffeId(trust_domain, workload.namespace, workload.service_account),
        inbound=inbound,
        proxy_listen=workload.outbound,
        upstreams=upstreams,
        targets=targets,
        outbound=outbound,
        trust_domain=trust_domain,
    )


def _upstreams(memo: Memo, catalog: Catalog, workload: Workload, callers: Callers) -> tuple[UpstreamPort, ...]:
    """The declared loopback ports whose service and port exist; `workload_problems` tells about the others."""
    found: list[UpstreamPort] = []
    for upstream in workload.upstreams:
        frontend = catalog.find(upstream.service, workload.namespace)
        port = frontend.port(upstream.port) if frontend else None
        target = callers.targets.get(BackendKey(frontend.host, port.number)) if frontend and port else None
        if frontend is not None and port is not None and target is not None:
            entry = callers.routes.entries((frontend.host,))[0]
            host = next((each for each in entry.virtual_hosts if each.port == port.number), None)
            found.append(memo(_upstream, upstream, frontend, port, target.backend, host))
    return tuple(found)


def _upstream(
    upstream: Upstream, frontend: Frontend, port: FrontendPort, backend: Backend, host: VirtualHost | None
) -> UpstreamPort:
    route = layer4_route(frontend, port)
    return UpstreamPort(upstream.listen, frontend.host, port.number, port.protocol, backend, host, route)
