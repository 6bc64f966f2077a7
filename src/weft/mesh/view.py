"""The view of one proxy: what it may see and must do."""

from __future__ import annotations

from weft.mesh.gateways.view import build_gateway_view
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import backend_name
from weft.mesh.sidecars.inbound import build_inbound
from weft.mesh.sidecars.outbound import Caller, build_outbound
from weft.mesh.views import InboundPort, OutboundView, ProxyView, SidecarView, UpstreamPort
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.workload import Workload


def build_view(mesh: Mesh, workload: Workload, memo: Memo) -> ProxyView:
    """What the proxy of `workload` may see and must do. Sidecars of one class share their OutboundView."""
    if workload.gateway is not None:
        return build_gateway_view(mesh, workload, memo)
    documents = mesh.catalog.documents_for(workload.namespace, workload.labels)
    overlap = mesh.overlap.of(workload.namespace) if mesh.overlap else None
    inbound = memo.over(build_inbound, documents, workload, mesh.peers.of(workload.namespace), overlap)
    outbound = build_outbound(mesh, memo, _caller(mesh, workload))
    upstreams = memo(_upstreams, mesh.catalog, workload)
    return memo(_sidecar, workload, inbound, outbound, upstreams, mesh.settings.trust_domain)


def _sidecar(
    workload: Workload,
    inbound: tuple[InboundPort, ...],
    outbound: OutboundView,
    upstreams: tuple[UpstreamPort, ...],
    trust_domain: str,
) -> SidecarView:
    return SidecarView(
        proxy=workload.proxy,
        identity=SpiffeId(trust_domain, workload.namespace, workload.service_account),
        inbound=inbound,
        proxy_listen=workload.outbound,
        upstreams=upstreams,
        outbound=outbound,
    )


def _caller(mesh: Mesh, workload: Workload) -> Caller:
    scope: tuple[str, ...] | None = None
    if workload.uses:
        named = [*workload.uses, *(upstream.service for upstream in workload.upstreams)]
        found = [mesh.catalog.find(name, workload.namespace) for name in named]
        scope = tuple(sorted({service.host for service in found if service is not None}))
    selectors = tuple(selector for selector in mesh.routes.selectors if selects(selector, workload.labels))
    return Caller(workload.namespace, selectors, scope)


def _upstreams(catalog: Catalog, workload: Workload) -> tuple[UpstreamPort, ...]:
    """The declared loopback ports whose service and port exist; `workload_problems` tells about the others."""
    found: list[UpstreamPort] = []
    for upstream in workload.upstreams:
        service = catalog.find(upstream.service, workload.namespace)
        port = service.port(upstream.port) if service else None
        if service is not None and port is not None:
            name = backend_name(service.host, port.number)
            found.append(UpstreamPort(upstream.listen, service.host, port.number, port.protocol, name))
    return tuple(found)
