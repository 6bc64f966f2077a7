"""RDS: virtual hosts of the mesh as Envoy's, each encoded for itself and joined into a route configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from types import MappingProxyType

from envoy.config.core.v3.base_pb2 import HeaderValueOption, RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher, Route, RouteMatch
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.routes.connections import Layer4Route
from weft.mesh.routes.rules import (
    NO_CHANGES,
    SAFE_RETRY,
    Forward,
    HeaderChanges,
    Redirect,
    Respond,
    Rule,
    Session,
    VirtualHost,
    WeightedBackend,
)
from weft.mesh.routes.sessions import backend_sessions
from weft.mesh.services.service import BackendKey
from weft.model.origin import Origin
from weft.xds.filters.chain import enable_forward_proxy, enabled_slots, rule_filters
from weft.xds.filters.limits import LIMITED
from weft.xds.filters.place import Place
from weft.xds.limits import MAX_DIRECT_RESPONSE
from weft.xds.messages import packed, provenance, regex, service_metadata, share
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes
from weft.xds.resource import encode_resource
from weft.xds.routes.actions import (
    SharedChanges,
    connect_action,
    forward_action,
    redirect_action,
    respond_action,
    retry_policy,
    set_longest,
)
from weft.xds.routes.headers import NOT_DELIVERED, envoy_headers, host_of
from weft.xds.routes.matches import route_match
from weft.xds.routes.sessions import backend_arms, with_cookie
from weft.xds.services.cluster import FORWARD_PROXY
from weft.xds.services.names import cluster_name
from weft.xds.signals.access_logs import ACCESS_LOG
from weft.xds.signals.sampling import SAMPLING, sampling_threshold
from weft.xds.snapshot import CLUSTER, Resource

CONNECT = "CONNECT"
"""In place of an object: no document made the route of what is carried to hosts outside, whatever it is."""
_MAX_TOTAL_WEIGHT = 1 << 31
_NO_FILTERS: Mapping[str, AnyMessage] = MappingProxyType({})
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""RFC 9110: those that change nothing."""
_NOT_IN_HOSTS = ("@", ",")
"""User information, and two Host headers that Envoy joined to one."""


def encode_routes(
    name: str,
    hosts: Iterable[bytes],
    origins: tuple[Origin, ...],
    clusters: Iterable[str],
    *,
    ignore_port: bool = False,
    without: Iterable[str] = (),
    filters: Mapping[str, AnyMessage] = _NO_FILTERS,
    requires: Iterable[tuple[str, str]] = (),
    alternative: str = "",
) -> Resource:
    """A route configuration of `hosts`, as `virtual_host` made them, that leads to `clusters`. `filters` are those that
    all routes enable, with their configuration; `requires` is what these and the hosts' own refer to.

    `ignore_port` matches hosts whatever port the client wrote; the header itself stays as it is. Requests are
    passed on `without` these headers. Answers name the `alternative` by which clients may come, too (Alt-Svc).
    """
    message = RouteConfiguration(
        name=name,
        ignore_port_in_host_matching=ignore_port,
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE),
        response_headers_to_remove=[NOT_DELIVERED],
        request_headers_to_remove=without,
        validate_clusters=BoolValue(value=False),
        typed_per_filter_config=filters,
    )
    if alternative:
        header = message.response_headers_to_add.add(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
        header.header.key, header.header.value = "alt-svc", alternative
    needed = dict.fromkeys((*zip(repeat(CLUSTER), clusters), *enabled_slots(filters), *requires))
    return encode_resource(message, name, origins, tuple(needed), encoded=b"".join(hosts))


@dataclass(frozen=True, slots=True)
class Entry:
    """How requests come to virtual hosts: the `place` of the listener, which says what filters rules may use, the
    `scheme` that clients speak, the cluster that CONNECT is led to (`tunnel`, empty where there is none), and how many
    seconds the listener lets a request last as a whole (`longest`, 0 for ever)."""

    place: Place
    scheme: str = "http"
    tunnel: str = ""
    longest: float = 0.0


def virtual_host(host: VirtualHost, domains: tuple[str, ...], entry: Entry) -> bytes:
    """`host`, answering to `domains`. At the edge, wildcards do not take what is not one host name.

    The result is a serialised RouteConfiguration that holds nothing else; such texts can be joined.
    """
    routes = [connect_route(entry.tunnel)] if entry.tunnel else []
    if entry.place is Place.GATEWAY and any("*" in domain for domain in domains):
        routes.extend(_refusal(sign) for sign in _NOT_IN_HOSTS)
    for rule in host.rules:
        standing = rule_filters(entry.place, rule)
        for route, variant in _every_route(rule, host, entry.scheme):
            filters = standing if variant is rule else rule_filters(entry.place, variant)
            for filter_name, config in filters.items():
                route.typed_per_filter_config[filter_name].CopyFrom(config)
            if entry.longest and isinstance(rule.action, Forward) and route.HasField("route"):
                set_longest(route.route, rule.action, entry.longest)
            routes.append(route)
    if entry.place is Place.GATEWAY and any(rule.match.claims for rule in host.rules):
        _prepare_for_claims(routes)
    message = EnvoyVirtualHost(name=host.name, domains=domains, routes=routes)
    if entry.place is Place.OUTBOUND and host.port and _is_routed(host):
        message.metadata.CopyFrom(service_metadata(host.name.removesuffix(f":{host.port}"), host.port))
    if any(isinstance(rule.action, Forward) and rule.action.retry is None for rule in host.rules):
        message.retry_policy.CopyFrom(retry_policy(SAFE_RETRY))
    return host_part(message)


def _prepare_for_claims(routes: list[Route]) -> None:
    """Which filters a request passes is settled by the first route that it meets, before its token is checked and its
    route is chosen again. So there always is one, and each enables whatever any of them does."""
    routes.append(Route(name="no-route", match=RouteMatch(prefix="/"), direct_response=respond_action(Respond(404))))
    names = {name for route in routes for name in route.typed_per_filter_config}
    for route in routes:
        for name in names - set(route.typed_per_filter_config):
            route.typed_per_filter_config[name].CopyFrom(packed(FilterConfig(config=AnyMessage())))


def _is_routed(host: VirtualHost) -> bool:
    """Whether a document routes it, so that some of its requests may get no cluster, by which metrics would know what
    they were for: rules answer by themselves, or fail on purpose. Else the rule's object is the Service."""
    return any(rule.object is None or rule.object.kind != "Service" for rule in host.rules)


def host_part(host: EnvoyVirtualHost) -> bytes:
    """A virtual host in the form that `encode_routes` joins."""
    return RouteConfiguration(virtual_hosts=[host]).SerializeToString(deterministic=True)


def connect_route(cluster: str) -> Route:
    """Every CONNECT of a virtual host, led to a cluster of the proxy's own."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    filters = enable_forward_proxy() if cluster == FORWARD_PROXY else {}
    action = connect_action(cluster, DEFAULT_TIMES)
    route = Route(name="connect", match=match, route=action, typed_per_filter_config=filters)
    if cluster == FORWARD_PROXY:
        route.metadata.CopyFrom(provenance(CONNECT))
    return route


def inside_route(cluster: str) -> Route:
    """Every CONNECT of a virtual host, led into a listener of the proxy's own that reads what is inside. How long the
    connection may last is known there."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    return Route(name="connect", match=match, route=connect_action(cluster, TcpTimes(idle=0)))


def tunnel_route(tunnel: Layer4Route, times: TcpTimes) -> Route:
    """Every CONNECT of a virtual host, divided over the backends of a layer-4 route."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    metadata = provenance(str(tunnel.object), tunnel.origin)
    filters = enable_forward_proxy() if any(each.by_caller for each in tunnel.backends) else {}
    action = connect_action(tunnel.backends, times)
    return Route(name="connect", match=match, route=action, metadata=metadata, typed_per_filter_config=filters)


def clusters_of(hosts: Iterable[VirtualHost]) -> tuple[str, ...]:
    """The clusters to which the rules of `hosts` lead, sorted."""
    keys: set[BackendKey] = set()
    for host in hosts:
        for rule in host.rules:
            if isinstance(rule.action, Forward):
                kept = zip(rule.action.backends, backend_sessions(rule.action), strict=True)
                keys.update(each.backend for each, session in kept if each.backend and (each.weight or session))
            keys.update(rule.mirrors())
    return tuple(sorted(map(cluster_name, keys)))


def origins_of(hosts: Iterable[VirtualHost]) -> tuple[Origin, ...]:
    """The places of all rules, and of what guards them, in order, each once."""
    rules = [rule for host in hosts for rule in host.rules]
    guards = [demand.origin for rule in rules if rule.guard for demand in rule.guard.demands]
    asked = [rule.authorizer.origin for rule in rules if rule.authorizer]
    return tuple(dict.fromkeys((*(rule.origin for rule in rules), *guards, *asked)))


def _every_route(rule: Rule, host: VirtualHost, scheme: str) -> Iterator[tuple[Route, Rule]]:
    """See `_routes`; where a rule hedges, before each the one for its requests that may be sent twice."""
    hedges = isinstance(rule.action, Forward) and rule.action.hedge
    for route, variant in _routes(rule, host, scheme):
        if hedges and route.HasField("route"):
            yield _hedged(route), variant
        yield route, variant


def _hedged(route: Route) -> Route:
    """`route` for those of its requests that may be sent twice."""
    safe = Route()
    safe.CopyFrom(route)
    methods = StringMatcher(safe_regex=regex("|".join(_SAFE_METHODS)))
    safe.match.headers.append(HeaderMatcher(name=":method", string_match=methods))
    safe.route.hedge_policy.hedge_on_per_try_timeout = True
    return safe


def _routes(rule: Rule, host: VirtualHost, scheme: str) -> Iterator[tuple[Route, Rule]]:
    """The routes of one rule, each with the rule as it is there: one, unless some of its backends are missing, which
    answers their share of the requests at once, rewrite the path each in its own way, or keep sessions."""
    match = route_match(rule.match)
    if match is None:
        return
    action = rule.action
    if isinstance(action, Redirect):
        route = _route(rule, match)
        route.redirect.CopyFrom(redirect_action(action, rule.match.path, host.domains, scheme))
        yield route, rule
        return
    if isinstance(action, Respond):
        yield _response(rule, match, action), rule
        return
    arms = backend_arms(action, scheme)
    for arm in arms:
        if arm.session is not None and len(arms) > 1 and arm.backend.backend not in (None, *action.deserted):
            stays = with_cookie(match, arm.session)
            yield _forwarding(rule, stays, action, (arm.backend,)), _at(rule, action, arm.session)
    weighed = _weighed(action.backends)
    kept = (arm.session for arm in arms if arm.backend.weight > 0)
    sessions = dict(zip(map(id, weighed), kept, strict=True))
    groups = _groups(weighed, apart=any(arm.session is not None for arm in arms))
    if not groups:
        yield _response(rule, match, Respond(action.missing_status)), rule
    for share_match, backends in _shares(match, groups):
        if backends[0].backend is None:
            yield _response(rule, share_match, Respond(action.missing_status)), rule
        else:
            route = _forwarding(rule, share_match, action, backends)
            yield route, _at(rule, action, sessions[id(backends[0])])


def _at(rule: Rule, action: Forward, session: Session | None) -> Rule:
    """The rule where its requests go to one backend, whose session that is."""
    return rule if session == action.session else replace(rule, action=replace(action, session=session))


def _groups(backends: tuple[WeightedBackend, ...], *, apart: bool) -> tuple[tuple[WeightedBackend, ...], ...]:
    """Backends that one route can do justice to: all missing ones, all others or, where they rewrite paths or are to be
    `apart`, each."""
    missing = tuple(backend for backend in backends if backend.backend is None)
    found = tuple(backend for backend in backends if backend.backend is not None)
    if apart or len({backend.path_rewrite for backend in found}) > 1:
        groups = (missing, *((backend,) for backend in found))
    else:
        groups = (missing, found)
    return tuple(group for group in groups if group)


def _weighed(backends: tuple[WeightedBackend, ...]) -> tuple[WeightedBackend, ...]:
    """Those that get requests, with weights whose sum Envoy can hold."""
    used = tuple(backend for backend in backends if backend.weight > 0)
    divisor = sum(backend.weight for backend in used) // _MAX_TOTAL_WEIGHT + 1
    if divisor == 1:
        return used
    return tuple(replace(backend, weight=max(backend.weight // divisor, 1)) for backend in used)


def _shares(
    match: RouteMatch, groups: tuple[tuple[WeightedBackend, ...], ...]
) -> Iterator[tuple[RouteMatch, tuple[WeightedBackend, ...]]]:
    """One match per group. Envoy draws one number per request, so each route takes what lies below its upper bound
    and was not taken before."""
    total = sum(backend.weight for group in groups for backend in group)
    below = 0
    for group in groups:
        below += sum(backend.weight for backend in group)
        part = RouteMatch()
        part.CopyFrom(match)
        if below < total:
            part.runtime_fraction.CopyFrom(RuntimeFractionalPercent(default_value=share(100 * below / total)))
        yield part, group


def _forwarding(
    rule: Rule,
    match: RouteMatch,
    forward: Forward,
    backends: tuple[WeightedBackend, ...],
) -> Route:
    """Header changes are made rule first, then destination. Envoy has it the other way round, so the route makes both
    for an only destination, and weighted destinations make the rule's themselves if any has its own."""
    host = host_of(rule.request)
    if host and not forward.host_rewrite:
        forward = replace(forward, host_rewrite=host)
    shared = SharedChanges()
    if len(backends) == 1:
        route = _route(rule, match, (backends[0].request,), (backends[0].response,))
    elif any(backend.request != NO_CHANGES or backend.response != NO_CHANGES for backend in backends):
        shared = SharedChanges(rule.request, rule.response)
        route = _route(replace(rule, request=NO_CHANGES, response=NO_CHANGES), match)
    else:
        route = _route(rule, match)
    route.route.CopyFrom(forward_action(forward, backends, rule.match.path, shared))
    return route


def _refusal(sign: str) -> Route:
    authority = HeaderMatcher(name=":authority", string_match=StringMatcher(contains=sign))
    match = RouteMatch(prefix="/", headers=[authority])
    return Route(name="bad-host", match=match, direct_response=respond_action(Respond(400)))


def _response(rule: Rule, match: RouteMatch, respond: Respond) -> Route:
    route = _route(rule, match)
    route.direct_response.CopyFrom(respond_action(respond))
    return route


def _route(
    rule: Rule,
    match: RouteMatch,
    request_more: tuple[HeaderChanges, ...] = (),
    response_more: tuple[HeaderChanges, ...] = (),
) -> Route:
    """What all actions share: name, provenance, header changes (the rule's, then the others)."""
    request, response = envoy_headers(rule.request, *request_more), envoy_headers(rule.response, *response_more)
    signals = {} if rule.sampling is None else {SAMPLING: sampling_threshold(rule.sampling)}
    signals |= {ACCESS_LOG: rule.access_log} if rule.access_log else {}
    signals |= {LIMITED: rule.limited} if rule.limited else {}
    return Route(
        name=rule.name,
        match=match,
        metadata=provenance(str(rule.object) if rule.object is not None else "", rule.origin, **signals),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
        stat_prefix=rule.stat_prefix,
    )
