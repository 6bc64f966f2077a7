"""Rules of the Gateway API's GRPCRoute (the CEL rules of its definition)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from weft.model.origin import FieldPath
from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.grpcroute import (
    GrpcBackendRef,
    GrpcMethodMatch,
    GrpcRouteFilter,
    GrpcRouteMatch,
    GrpcRouteRule,
    GrpcRouteSpec,
)
from weft.schema.rules.httproute import attached_route, backend, regex_finding, repeated

_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*", re.ASCII)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)
_FILTER_FIELDS = {
    "RequestHeaderModifier": ("requestHeaderModifier", "request_header_modifier"),
    "ResponseHeaderModifier": ("responseHeaderModifier", "response_header_modifier"),
    "RequestMirror": ("requestMirror", "request_mirror"),
}
MAX_MATCHES = 128
"""Of all rules together."""


def grpc_route(spec: GrpcRouteSpec) -> Iterator[Finding]:
    """Parents and rule names differ from each other; matches are not too many."""
    yield from attached_route(spec.parent_refs, [rule.name for rule in spec.rules])
    if not spec.rules:
        message = "the route has no rules, so callers get the status UNIMPLEMENTED"
        yield Finding((), message, "rules", code="no-effect", severity=Severity.WARNING)
    total = sum(len(rule.matches) for rule in spec.rules)
    if total > MAX_MATCHES:
        message = f"found {total} matches in all rules together"
        yield Finding(("rules",), message, f"at most {MAX_MATCHES}", code="out-of-range")


def method_match(spec: GrpcMethodMatch) -> Iterator[Finding]:
    """One of the two is there, and each is the name of such a thing, or a regular expression."""
    if not spec.service and not spec.method:
        yield missing((), "the match names neither a service nor a method", "service or method")
    if spec.type == "RegularExpression":
        for field, text in (("service", spec.service), ("method", spec.method)):
            if text:
                yield from regex_finding((field,), text)
        return
    if spec.service and _SERVICE.fullmatch(spec.service) is None:
        expected = "a gRPC service with its package, such as helloworld.Greeter"
        yield Finding(("service",), f"found '{spec.service[:80]}'", expected)
    if spec.method and _METHOD.fullmatch(spec.method) is None:
        yield Finding(("method",), f"found '{spec.method[:80]}'", "the name of a method, such as SayHello")


def route_match(spec: GrpcRouteMatch) -> Iterator[Finding]:
    """A header has one condition."""
    yield from repeated("headers", (match.name.lower() for match in spec.headers))


def route_filter(spec: GrpcRouteFilter) -> Iterator[Finding]:
    """The field of the filter's type is set, and no other."""
    for kind, (json, name) in _FILTER_FIELDS.items():
        given = getattr(spec, name) is not None
        if kind == spec.type and not given:
            yield missing((), f"a filter of type {kind} needs '{json}'", json)
        elif kind != spec.type and given:
            yield conflicting((json,), f"'{json}' does not belong to type {spec.type}", f"type: {kind}")


def route_rule(spec: GrpcRouteRule) -> Iterator[Finding]:
    """Only the mirror stands more than once."""
    yield from _repeated_filters(("filters",), spec.filters)


def backend_ref(spec: GrpcBackendRef) -> Iterator[Finding]:
    """Filters of one backend change the request; they do not mirror it."""
    yield from backend(spec)
    yield from _repeated_filters(("filters",), spec.filters)
    for index, each in enumerate(spec.filters):
        if each.type == "RequestMirror":
            message = "RequestMirror in a backend's filters is not supported by weft; put it into the rule's filters"
            yield Finding(("filters", index, "type"), message, code="unsupported-value")


def _repeated_filters(path: FieldPath, filters: tuple[GrpcRouteFilter, ...]) -> Iterator[Finding]:
    counts = Counter[str]()
    for index, each in enumerate(filters):
        counts[each.type] += 1
        if each.type != "RequestMirror" and counts[each.type] > 1:
            yield duplicate((*path, index, "type"), f"the filter {each.type} is given twice")


RULES: Mapping[type, tuple[Rule, ...]] = {
    GrpcRouteSpec: (grpc_route,),
    GrpcMethodMatch: (method_match,),
    GrpcRouteMatch: (route_match,),
    GrpcRouteFilter: (route_filter,),
    GrpcRouteRule: (route_rule,),
    GrpcBackendRef: (backend_ref,),
}
