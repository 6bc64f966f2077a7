"""The verdict on a request: what a view does with it, without Envoy. Tests check real Envoys against it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from weft.explain.matching import Request, request_matches, rewritten_path, virtual_host_of
from weft.mesh.routes.rules import (
    NO_CHANGES,
    Forward,
    HeaderChanges,
    Redirect,
    Respond,
    Rule,
    VirtualHost,
    WeightedBackend,
)
from weft.mesh.routes.sessions import backend_sessions
from weft.mesh.services.hosts import best_match
from weft.mesh.services.service import BackendKey
from weft.mesh.views import GatewayServer, GatewayView, OutboundView, SidecarView
from weft.model.origin import Origin
from weft.schema.hosts import clean_host
from weft.xds.services.names import cluster_name

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request.

    `status` is that of an answer by the proxy, 0 when the request is forwarded. `backends` are all that it could go to
    with their shares (summing to 1), `backend` the one that the request's `random` chose. `passthrough`: no document
    names the host, so it goes there as it is. `request` and `response` are the header changes of the rule, then of the
    backend. `delay` in seconds.
    """

    status: int = 0
    rule: Rule | None = None
    backend: str = ""
    backends: tuple[tuple[str, float], ...] = ()
    host: str = ""
    path: str = ""
    location: str = ""
    body: bytes = b""
    request: tuple[HeaderChanges, ...] = ()
    response: tuple[HeaderChanges, ...] = ()
    delay: float = 0.0
    grpc_status: int | None = None
    mirrors: tuple[str, ...] = ()
    timeout: float | None = None
    passthrough: bool = False

    @property
    def origin(self) -> Origin | None:
        """Where the rule is written."""
        return self.rule.origin if self.rule else None


def evaluate(view: SidecarView | OutboundView | GatewayView, request: Request) -> Verdict:
    """The fate of a request that an application sends through its sidecar, or a client to a gateway.

    Retries, time limits and the health of endpoints are left out: they depend on more than the request.
    """
    found = host_of(view, request)
    if isinstance(found, Verdict):
        return found
    rule = next((item for item in found.rules if request_matches(item.match, request)), None)
    return Verdict(status=404) if rule is None else verdict_of(rule, request)


def host_of(view: SidecarView | OutboundView | GatewayView, request: Request) -> VirtualHost | Verdict:
    """The virtual host whose rules a request meets, or what becomes of one that meets none."""
    if isinstance(view, GatewayView):
        server = _server(view, request)
        if server is None:
            return Verdict(status=404)
        best = best_match((*server.hostnames, *server.misdirected), clean_host(request.host))
        if best is not None and best not in server.hostnames:
            return Verdict(status=421)
        return virtual_host_of(server.virtual_hosts, request.host, 0) or Verdict(status=404)
    outbound = view.outbound if isinstance(view, SidecarView) else view
    found = virtual_host_of(outbound.virtual_hosts, request.host, request.port, outbound.tunnels)
    if found is not None:
        return found
    names = chain(*(each.domains for each in outbound.tunnels), *(each.domains for each in outbound.refusals))
    refused = clean_host(request.host) in names
    return Verdict(passthrough=True) if outbound.allow_any and not refused else Verdict(status=502)


def _server(view: GatewayView, request: Request) -> GatewayServer | None:
    """Whose routes are used: the one whose hostname covers the name in the handshake best."""
    ports = [port for port in view.ports if port.port == request.listener]
    servers = {name: item for port in ports for item in port.servers for name in item.hostnames}
    best = best_match(tuple(servers), request.server_name or clean_host(request.host))
    return servers[best] if best is not None else None


def verdict_of(rule: Rule, request: Request) -> Verdict:
    """What a rule does with a request that it matches."""
    delay = 0.0
    fault = rule.fault
    if fault is not None:
        if fault.delay and request.random * 100 < fault.delay_percent:
            delay = fault.delay
        aborts = request.random * 100 < fault.abort_percent
        if aborts and fault.abort_http is not None:
            return Verdict(status=fault.abort_http, rule=rule, delay=delay)
        if aborts and fault.abort_grpc is not None:
            return Verdict(status=200, rule=rule, delay=delay, grpc_status=fault.abort_grpc)
    match rule.action:
        case Respond(status, body):
            return Verdict(status=status, rule=rule, body=body, delay=delay, response=(rule.response,))
        case Redirect() as redirect:
            location = _location(redirect, rule, request)
            return Verdict(status=redirect.status, rule=rule, location=location, delay=delay, response=(rule.response,))
        case Forward() as forward:
            return _forwarded(forward, rule, request, delay)


def _forwarded(forward: Forward, rule: Rule, request: Request, delay: float) -> Verdict:
    total = sum(item.weight for item in forward.backends)
    if not total and stays_at(forward, request) is None:
        return Verdict(status=forward.missing_status, rule=rule, delay=delay)
    shares = tuple((_name(item.backend), item.weight / (total or 1)) for item in forward.backends)
    chosen = stays_at(forward, request) or _choose(forward.backends, request.random * total)
    status = forward.missing_status if chosen.backend is None else 0
    return Verdict(
        status=status,
        rule=rule,
        backend=_name(chosen.backend),
        backends=shares,
        host=chosen.host_rewrite or forward.host_rewrite or request.authority,
        path=rewritten_path(request.path, chosen.path_rewrite or forward.path_rewrite, rule.match),
        request=_changes(rule.request, chosen.request),
        response=_changes(rule.response, chosen.response),
        delay=delay,
        mirrors=tuple(_name(item.backend) for item in forward.mirrors if request.random * 100 < item.percent),
        timeout=forward.timeout or None,
    )


def _name(backend: BackendKey | None) -> str:
    return "" if backend is None else cluster_name(backend)


def stays_at(forward: Forward, request: Request) -> WeightedBackend | None:
    """The backend at which the request's session is, if it brings back a cookie that says so."""
    sessions = backend_sessions(forward)
    if len(sessions) == 1 or not any(each is not None and each.kind == "cookie" for each in sessions):
        return None
    cookies = {item.partition("=")[0].lstrip(" ") for item in request.headers.get("cookie", "").split(";")}
    left = (None, *forward.deserted)
    kept = [(item, session) for item, session in zip(forward.backends, sessions, strict=True) if session is not None]
    return next((item for item, session in kept if session.name in cookies and item.backend not in left), None)


def _choose(backends: tuple[WeightedBackend, ...], point: float) -> WeightedBackend:
    for item in backends:
        if point < item.weight:
            return item
        point -= item.weight
    return backends[-1]


def _changes(*changes: HeaderChanges) -> tuple[HeaderChanges, ...]:
    return tuple(item for item in changes if item != NO_CHANGES)


def _location(redirect: Redirect, rule: Rule, request: Request) -> str:
    scheme = redirect.scheme or request.scheme
    port = redirect.port
    if not port and redirect.port_from_request and scheme == request.scheme and not redirect.host:
        port = request.port
    host = redirect.host or request.host
    shown = f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else ""
    return f"{scheme}://{host}{shown}{rewritten_path(request.path, redirect.path_rewrite, rule.match)}"


def apply_changes(headers: dict[str, str], changes: tuple[HeaderChanges, ...]) -> dict[str, str]:
    """Headers after changes, values of one name joined by commas."""
    result = dict(headers)
    for change in changes:
        for name, value in change.set:
            result[name] = value
        for name, value in change.add:
            result[name] = f"{result[name]},{value}" if name in result else value
        for name in change.remove:
            result.pop(name, None)
    return result
