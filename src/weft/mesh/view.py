"""The view of one proxy: what it may see and must do."""

from __future__ import annotations

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
    build_caller_routes,
    build_outbound,
    layer4_route,
)
from weft.mesh.views import (
    InboundPort,
    OutboundView,
    ProxyView,
    SidecarView,
    TargetsView,
    UpstreamPort,
)
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.snapshot import OutboundPolicy
from weft.model.workload import Upstream, Workload


def build_view(mesh: Mesh, workload: Workload, memo: Memo) -> ProxyView:
    """What the proxy of `workload` may see and must do. Proxies that see alike share their views' large parts."""
    rules, trust_domain = mesh.destination_rules, mesh.settings.trust_domain
    # Namespaces without DestinationRules of their own see the same backends.
    shared = workload.namespace if workload.namespace in rules.namespaces else ""
    targets = memo(build_caller_targets, memo, mesh.targets, mesh.services, rules, mesh.routes.subsets, shared)
    if workload.gateway is not None:
        gateway = mesh.gateways.by_name.get(gateway_of(workload))
        return build_gateway_view(memo, workload, gateway, mesh.routes.selectors, targets, trust_domain)
    routes = memo(
        build_caller_routes,
        memo,
        mesh.routes,
        mesh.catalog,
        mesh.entries,
        workload.namespace,
        tuple([each for each in mesh.routes.selectors if selects(each, workload.labels)]),
    )
    scope = memo(scope_of, mesh.catalog, workload)
    hosts = mesh.catalog.hosts if scope is None else scope
    allow_any = mesh.settings.outbound_policy == OutboundPolicy.ALLOW_ANY
    outbound, used = memo.over(build_outbound, routes.entries(hosts), allow_any, False)
    if scope is None:
        seen = memo(_everything, targets, trust_domain)
    else:
        found = (targets.get(key) for key in used)
        seen = memo.over(_some, [target for target in found if target is not None], trust_domain)
    frontends = memo(_selecting, mesh.catalog, workload)
    overlap = mesh.overlap.of(workload.namespace) if mesh.overlap else None
    inbound = memo.over(build_inbound, frontends, workload, mesh.peers.of(workload.namespace), overlap)
    upstreams = _upstreams(memo, mesh.catalog, workload, routes, targets) if workload.upstreams else ()
    return memo(_sidecar, workload, inbound, upstreams, seen, outbound, trust_domain)


def scope_of(catalog: Catalog, workload: Workload) -> tuple[str, ...] | None:
    """The full names of the services that a workload says it uses, sorted; None: it says nothing."""
    if not workload.uses:
        return None
    named = [*workload.uses, *(upstream.service for upstream in workload.upstreams)]
    found = [catalog.find(name, workload.namespace) for name in named]
    return tuple(sorted({frontend.host for frontend in found if frontend is not None}))


def _selecting(catalog: Catalog, workload: Workload) -> tuple[Frontend, ...]:
    return catalog.selecting(workload.namespace, workload.labels)


def _everything(targets: CallerTargets, trust_domain: str) -> TargetsView:
    return TargetsView(targets.base, tuple(targets.own.values()), trust_domain)


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


def _upstreams(
    memo: Memo, catalog: Catalog, workload: Workload, routes: CallerRoutes, targets: CallerTargets
) -> tuple[UpstreamPort, ...]:
    """The declared loopback ports whose service and port exist; `workload_problems` tells about the others."""
    found: list[UpstreamPort] = []
    for upstream in workload.upstreams:
        frontend = catalog.find(upstream.service, workload.namespace)
        port = frontend.port(upstream.port) if frontend else None
        target = targets.get(BackendKey(frontend.host, port.number)) if frontend and port else None
        if frontend is not None and port is not None and target is not None:
            entry = routes.entries((frontend.host,))[0]
            host = next((each for each in entry.virtual_hosts if each.port == port.number), None)
            found.append(memo(_upstream, upstream, frontend, port, target.backend, host))
    return tuple(found)


def _upstream(
    upstream: Upstream, frontend: Frontend, port: FrontendPort, backend: Backend, host: VirtualHost | None
) -> UpstreamPort:
    route = layer4_route(frontend, port)
    return UpstreamPort(upstream.listen, frontend.host, port.number, port.protocol, backend, host, route)
