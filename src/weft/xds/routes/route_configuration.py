"""RDS: virtual hosts of the mesh as Envoy's, each encoded for itself and joined into a route configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteMatch
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.routes.rules import (
    NO_BACKEND,
    NO_CHANGES,
    Forward,
    HeaderChanges,
    Redirect,
    Respond,
    Rule,
    VirtualHost,
    WeightedBackend,
)
from weft.model.origin import Origin
from weft.xds.filters.chain import enable_forward_proxy, route_filters
from weft.xds.limits import MAX_DIRECT_RESPONSE
from weft.xds.messages import provenance, share
from weft.xds.routes.actions import SharedChanges, connect_action, forward_action, redirect_action, respond_action
from weft.xds.routes.headers import NOT_DELIVERED, envoy_headers, host_of
from weft.xds.routes.matches import route_match
from weft.xds.services.cluster import FORWARD_PROXY

_MAX_TOTAL_WEIGHT = 1 << 31
_NOT_IN_HOSTS = ("@", ",")
"""User information, and two Host headers that Envoy joined to one."""


def route_configuration(name: str, hosts: Iterable[bytes], *, ignore_port: bool = False) -> RouteConfiguration:
    """A route configuration of `hosts`, as `virtual_host` made them.

    `ignore_port` matches hosts whatever port the client wrote; the header itself stays as it is.
    """
    message = RouteConfiguration.FromString(b"".join(hosts))
    message.name = name
    message.ignore_port_in_host_matching = ignore_port
    message.max_direct_response_body_size_bytes.CopyFrom(UInt32Value(value=MAX_DIRECT_RESPONSE))
    message.response_headers_to_remove.append(NOT_DELIVERED)
    message.validate_clusters.CopyFrom(BoolValue(value=False))
    return message


def virtual_host(
    host: VirtualHost,
    name: str,
    domains: tuple[str, ...],
    tunnel: str = "",
    strict_host: bool = False,
    scheme: str = "http",
) -> bytes:
    """`host` under `name`, answering to `domains`. `tunnel` names the cluster that CONNECT requests are led to;
    `strict_host` refuses hosts that wildcards would take although they are not one host name; `scheme` is that of
    requests.

    The result is a serialised RouteConfiguration that holds nothing else; such texts can be joined.
    """
    routes = [connect_route(tunnel)] if tunnel else []
    if strict_host:
        routes.extend(_refusal(sign) for sign in _NOT_IN_HOSTS)
    for rule in host.rules:
        routes.extend(_routes(rule, host, scheme))
    return host_part(EnvoyVirtualHost(name=name, domains=domains, routes=routes))


def host_part(host: EnvoyVirtualHost) -> bytes:
    """A virtual host in the form that `route_configuration` joins."""
    return RouteConfiguration(virtual_hosts=[host]).SerializeToString(deterministic=True)


def connect_route(cluster: str) -> Route:
    """Every CONNECT of a virtual host, led to `cluster`."""
    match = RouteMatch()
    match.connect_matcher.SetInParent()
    filters = enable_forward_proxy() if cluster == FORWARD_PROXY else {}
    return Route(name="connect", match=match, route=connect_action(cluster), typed_per_filter_config=filters)


def clusters_of(hosts: Iterable[VirtualHost]) -> tuple[str, ...]:
    """The backends that rules of `hosts` name, sorted."""
    names: set[str] = set()
    for host in hosts:
        for rule in host.rules:
            if isinstance(rule.action, Forward):
                names.update(backend.backend for backend in rule.action.backends if backend.weight)
                names.update(mirror.backend for mirror in rule.action.mirrors)
    return tuple(sorted(names - {NO_BACKEND}))


def origins_of(hosts: Iterable[VirtualHost]) -> tuple[Origin, ...]:
    """The places of all rules, in order, each once."""
    return tuple(dict.fromkeys(rule.origin for host in hosts for rule in host.rules))


def _routes(rule: Rule, host: VirtualHost, scheme: str) -> Iterator[Route]:
    """The routes of one rule: one, unless its backends rewrite the path each in its own way."""
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
    backends = _weighed(action.backends)
    if all(backend.backend == NO_BACKEND for backend in backends):
        yield _response(rule, match, Respond(action.missing_status if backends else 500))
        return
    if len({backend.path_rewrite for backend in backends}) == 1:
        yield _forwarding(rule, match, action, backends, host.upgrades)
        return
    for share_match, backend in _shares(match, backends):
        yield _forwarding(rule, share_match, action, (backend,), host.upgrades)


def _weighed(backends: tuple[WeightedBackend, ...]) -> tuple[WeightedBackend, ...]:
    """Those that get requests, with weights whose sum Envoy can hold."""
    used = tuple(backend for backend in backends if backend.weight > 0)
    divisor = sum(backend.weight for backend in used) // _MAX_TOTAL_WEIGHT + 1
    if divisor == 1:
        return used
    return tuple(replace(backend, weight=max(backend.weight // divisor, 1)) for backend in used)


def _shares(match: RouteMatch, backends: tuple[WeightedBackend, ...]) -> Iterator[tuple[RouteMatch, WeightedBackend]]:
    """One match per backend. Envoy draws one number per request, so each route takes what lies below its upper bound
    and was not taken before."""
    total = sum(backend.weight for backend in backends)
    below = 0
    for backend in backends:
        below += backend.weight
        part = RouteMatch()
        part.CopyFrom(match)
        if below < total:
            part.runtime_fraction.CopyFrom(RuntimeFractionalPercent(default_value=share(100 * below / total)))
        yield part, backend


def _forwarding(
    rule: Rule,
    match: RouteMatch,
    forward: Forward,
    backends: tuple[WeightedBackend, ...],
    upgrades: tuple[str, ...],
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
    route.route.CopyFrom(forward_action(forward, backends, rule.match.path, upgrades, shared))
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
    """What all actions share: name, provenance, header changes (the rule's, then the others), filters."""
    request, response = envoy_headers(rule.request, *request_more), envoy_headers(rule.response, *response_more)
    return Route(
        name=rule.name,
        match=match,
        metadata=provenance((rule.origin,), str(rule.object) if rule.object is not None else ""),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
        typed_per_filter_config=route_filters(rule),
    )
