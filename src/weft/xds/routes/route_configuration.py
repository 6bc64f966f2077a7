"""RDS: virtual hosts of the mesh as Envoy's, each encoded for itself and joined into a route configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteMatch
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.routes.rules import (
    NO_CHANGES,
    SAFE_RETRY,
    Forward,
    HeaderChanges,
    Layer4Route,
    Redirect,
    Respond,
    Rule,
    VirtualHost,
    WeightedBackend,
)
from weft.mesh.services.service import BackendKey
from weft.model.origin import Origin
from weft.xds.filters.chain import Place, enable_forward_proxy, rule_filters
from weft.xds.limits import MAX_DIRECT_RESPONSE
from weft.xds.messages import provenance, share
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
from weft.xds.services.cluster import FORWARD_PROXY
from weft.xds.services.names import cluster_name
from weft.xds.snapshot import CLUSTER, Resource

_MAX_TOTAL_WEIGHT = 1 << 31
_NOT_IN_HOSTS = ("@", ",")
"""User information, and two Host headers that Envoy joined to one."""


def encode_routes(
    name: str,
    hosts: Iterable[bytes],
    origins: tuple[Origin, ...],
    clusters: Iterable[str],
    *,
    ignore_port: bool = False,
) -> Resource:
    """A route configuration of `hosts`, as `virtual_host` made them, that leads to `clusters`.

    `ignore_port` matches hosts whatever port the client wrote; the header itself stays as it is.
    """
    message = RouteConfiguration(
        name=name,
        ignore_port_in_host_matching=ignore_port,
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE),
        response_headers_to_remove=[NOT_DELIVERED],
        validate_clusters=BoolValue(value=False),
    )
    requires = tuple(zip(repeat(CLUSTER), clusters))
    return encode_resource(message, name, origins, requires, encoded=b"".join(hosts))


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
        filters = rule_filters(entry.place, rule)
        for route in _routes(rule, host, entry.scheme):
            for filter_name, config in filters.items():
                route.typed_per_filter_config[filter_name].CopyFrom(config)
            if entry.longest and isinstance(rule.action, Forward) and route.HasField("route"):
                set_longest(route.route, rule.action, entry.longest)
            routes.append(route)
    message = EnvoyVirtualHost(name=host.name, domains=domains, routes=routes)
    if any(isinstance(rule.action, Forward) and rule.action.retry is None for rule in host.rules):
        message.retry_policy.CopyFrom(retry_policy(SAFE_RETRY))
    return host_part(message)


def host_part(host: EnvoyVirtualHost) -> bytes:
    """A virtual host in the form that `encode_routes` joins."""
    return RouteConfiguration(virtual_hosts=[host]).SerializeToString(deterministic=True)


def connect_route(cluster: str) -> Route:
    """Every CONNECT of a virtual host, led to a cluster of the proxy's own."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    filters = enable_forward_proxy() if cluster == FORWARD_PROXY else {}
    action = connect_action(cluster, DEFAULT_TIMES)
    return Route(name="connect", match=match, route=action, typed_per_filter_config=filters)


def tunnel_route(tunnel: Layer4Route, times: TcpTimes) -> Route:
    """Every CONNECT of a virtual host, divided over the backends of a layer-4 route."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    metadata = provenance(str(tunnel.object), tunnel.origin)
    return Route(name="connect", match=match, route=connect_action(tunnel.backends, times), metadata=metadata)


def clusters_of(hosts: Iterable[VirtualHost]) -> tuple[str, ...]:
    """The clusters to which the rules of `hosts` lead, sorted."""
    keys: set[BackendKey] = set()
    for host in hosts:
        for rule in host.rules:
            if isinstance(rule.action, Forward):
                keys.update(each.backend for each in rule.action.backends if each.weight and each.backend)
                keys.update(mirror.backend for mirror in rule.action.mirrors)
    return tuple(sorted(map(cluster_name, keys)))


def origins_of(hosts: Iterable[VirtualHost]) -> tuple[Origin, ...]:
    """The places of all rules, in order, each once."""
    return tuple(dict.fromkeys(rule.origin for host in hosts for rule in host.rules))


def _routes(rule: Rule, host: VirtualHost, scheme: str) -> Iterator[Route]:
    """The routes of one rule: one, unless some of its backends are missing, which answers their share of the requests
    at once, or rewrite the path each in its own way."""
    match = route_match(rule.match)
    if match is None:
        return
    action = rule.action
    if isinstance(action, Redirect):
        route = _route(rule, match)
        route.redirect.CopyFrom(redirect_action(action, rule.match.path, host.domains, scheme))
        yield route
        return
    if isinstance(action, Respond):
        yield _response(rule, match, action)
        return
    groups = _groups(_weighed(action.backends))
    if not groups:
        yield _response(rule, match, Respond(500))
    for share_match, backends in _shares(match, groups):
        if backends[0].backend is None:
            yield _response(rule, share_match, Respond(action.missing_status))
        else:
            yield _forwarding(rule, share_match, action, backends)


def _groups(backends: tuple[WeightedBackend, ...]) -> tuple[tuple[WeightedBackend, ...], ...]:
    """Backends that one route can do justice to: all missing ones, all others or, where they rewrite paths, each."""
    missing = tuple(backend for backend in backends if backend.backend is None)
    found = tuple(backend for backend in backends if backend.backend is not None)
    if len({backend.path_rewrite for backend in found}) > 1:
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
    return Route(
        name=rule.name,
        match=match,
        metadata=provenance(str(rule.object) if rule.object is not None else "", rule.origin),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
    )
