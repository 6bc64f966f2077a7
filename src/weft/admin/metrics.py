"""Metrics of the control plane, and where Prometheus finds everything it may scrape: its HTTP service discovery.

The same handlers are served on the metrics port, which Prometheus on another host can reach: in plaintext on loopback
only, else over TLS with a certificate of the mesh or a reader's token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aiohttp import web

from weft import __version__
from weft.admin.callers import proxy_of
from weft.admin.context import ApiContext
from weft.admin.guard import check_host, check_no_page, check_token
from weft.admin.replicas.replicas import Replicas
from weft.admin.replies import Handler, Refused, reply
from weft.admin.routing import Route
from weft.admin.server import mark_authenticated, new_application
from weft.admin.status import Status
from weft.model.addresses import is_loopback
from weft.model.canonical import canonical_revision, canonical_service
from weft.model.workload import SocketAddress, Workload
from weft.telemetry.metrics import CONTENT_TYPE, Family, gauge, text_of

_PROXY_PATH = "/metrics"
_READER_TOKEN = ("Prometheus' token", "control-plane/prometheus.token")
_BODY_LIMIT = 1024
_TEXT_HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}


class Metrics:
    """Handlers for Prometheus."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._status = Status(context)

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        targets = "What Prometheus may scrape, as its HTTP service discovery reads it"
        return (
            Route("GET", "/v1/metrics", self.metrics, "The control plane's metrics, for Prometheus", readable=True),
            Route("GET", "/v1/prometheus/targets", self.targets, targets, readable=True),
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        """``GET /v1/metrics``."""
        families = (*self._context.registry.families(), *self._families())
        return web.Response(body=text_of(families).encode(), headers=_TEXT_HEADERS)

    async def targets(self, _request: web.Request) -> web.Response:
        """``GET /v1/prometheus/targets``: a list, and nothing around it, as Prometheus wants it."""
        found = [_target(one, one.metrics) for one in self._context.collector.snapshot.workloads if one.metrics]
        if self._context.metrics is not None:
            labels = {"component": "control-plane", "namespace": "weft-system", "workload": "weft-control-plane"}
            found.insert(0, _entry(self._context.metrics, _PROXY_PATH, labels))
        return reply(found)

    def _families(self) -> Iterator[Family]:
        """What is known anyway and read at this moment."""
        context = self._context
        snapshot, compiled = context.collector.snapshot, context.compiled.value
        problems = Counter({(severity,): 0 for severity in ("error", "warning")})
        problems.update((str(problem.severity),) for problem in self._status.found())
        states = Counter((str(workload.state),) for workload in snapshot.workloads)
        services = len(compiled.mesh.services.all) if compiled.mesh else 0
        yield gauge("weft_info", "Version of the control plane.", {(__version__,): 1.0}, "version")
        yield gauge("weft_snapshot_revision", "Revision of what is configured.", snapshot.revision)
        yield gauge("weft_compiled_revision", "Revision that proxies are offered.", compiled.revision)
        yield gauge("weft_documents", "Documents in force.", len(snapshot.documents))
        yield gauge("weft_services", "Services of the mesh.", services)
        yield gauge("weft_workloads", "Registered workloads by state.", states, "state")
        yield gauge("weft_problems", "What is wrong now, by severity.", problems, "severity")
        yield gauge("weft_control_plane_faults", "What is wrong with the control plane.", len(context.faults()))
        yield gauge("weft_proxies_connected", "Proxies with a stream.", len(context.hub.connected()))
        yield gauge("weft_proxies_registered", "Proxies that there may be.", context.hub.registered)
        if context.replicas.links:
            yield _replicas(context.replicas)
        yield gauge("weft_xds_streams", "Streams of proxies.", context.hub.streams)
        yield from self._certificates()
        if (window := context.reports) is not None:
            yield gauge("weft_traffic_window_edges", "Edges of the window of traffic.", window.edge_count)
            yield gauge("weft_traffic_window_bytes", "Memory that they take, about.", window.size)
            text = "Requests that proxies told of and no edge has, for want of room."
            yield gauge("weft_traffic_dropped_requests_total", text, window.dropped, kind="counter")
        refused = {(code,): count for code, count in context.audit.refusals.items()}
        text = "Requests and streams refused, by the audit's word for why."
        yield gauge("weft_refusals_total", text, refused, "reason", kind="counter")

    def _certificates(self) -> Iterator[Family]:
        authority = self._context.authority
        issued, refused = "Certificates issued to workloads.", "Certificates not issued, by why."
        yield gauge("weft_certificates_issued_total", issued, authority.issued, kind="counter")
        counts = {(code,): count for code, count in authority.refused.items()}
        yield gauge("weft_certificates_refused_total", refused, counts, "reason", kind="counter")
        expiry = {(name,): moment for name, moment in authority.expiries().items()}
        text = "When the authority's certificates end, in seconds since the epoch."
        yield gauge("weft_certificate_expiry_timestamp_seconds", text, expiry, "certificate")


def metrics_application(context: ApiContext, reader: str, *, tls: bool) -> web.Application:
    """The application of the metrics port: the metrics, the targets, and whether the control plane works.

    On loopback (not `tls`) anybody of this host may read the metrics, which name nobody; the targets want the
    `reader`'s token. Over TLS both want that token or a certificate of the mesh.
    """
    handlers = Metrics(context)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, reader, tls=tls)
        except Refused as refused:
            record = refused.record or str(refused)
            context.audit.refused(request.remote or "local", f"metrics {request.path}", refused.code, record)
            raise
        return await handler(request)

    application = new_application(guard, body_limit=_BODY_LIMIT, answered=context.answered("metrics"))
    application.router.add_get("/metrics", handlers.metrics)
    application.router.add_get("/v1/metrics", handlers.metrics)
    application.router.add_get("/v1/prometheus/targets", handlers.targets)
    application.router.add_get("/v1/health", Status(context).health)
    return application


def _check(request: web.Request, reader: str, *, tls: bool) -> None:
    if not tls:
        check_host(request)
        check_no_page(request)
    if request.path == "/v1/health" or (not tls and request.path.endswith("/metrics")):
        return
    if tls and request.transport is not None and proxy_of(request.transport):
        mark_authenticated(request)
        return
    check_token(request, reader, *_READER_TOKEN)
    mark_authenticated(request)


def _replicas(replicas: Replicas) -> Family:
    unknown = len(replicas.unknown())
    counts = {("known",): float(len(replicas.links) - unknown), ("unknown",): float(unknown)}
    text = "Other replicas of the control plane, by whether it is known which proxies they serve."
    return gauge("weft_replicas", text, counts, "state")


def _target(workload: Workload, address: SocketAddress) -> dict[str, object]:
    labels = {
        "component": "gateway" if workload.gateway is not None else "proxy",
        "namespace": workload.namespace,
        "workload": workload.name,
        "app": canonical_service(workload),
        "version": canonical_revision(workload),
    }
    return _entry(address, _PROXY_PATH, labels, plain=bool(workload.pod))


def _entry(address: SocketAddress, path: str, labels: dict[str, str], *, plain: bool = False) -> dict[str, object]:
    """An entry of Prometheus' http_sd: https://prometheus.io/docs/prometheus/latest/http_sd/. A pod's are `plain`."""
    scheme = "http" if plain or is_loopback(address.host) else "https"
    return {"targets": [str(address)], "labels": {"__scheme__": scheme, "__metrics_path__": path} | labels}
