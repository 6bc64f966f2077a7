"""Rules of VirtualService, as Istio checks them, and against words that would have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from weft.model.origin import FieldPath
from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.forms import FormError, read_base64, regex_groups
from weft.schema.kinds.virtualservice import (
    CorsPolicy,
    FaultAbort,
    HeaderOperations,
    Headers,
    HttpBody,
    HttpFaultInjection,
    HttpMatchRequest,
    HttpRedirect,
    HttpRetry,
    HttpRewrite,
    HttpRoute,
    RegexRewrite,
    VirtualServiceSpec,
)
from weft.schema.rules.headers import HOST_HEADERS, header_changes, literal_values

MESH_GATEWAY = "mesh"
MAX_BODY = 65536
"""Bytes of a direct response."""
GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of gRPC status codes; the place of each is its number."""
RETRY_CONDITIONS = frozenset((
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
))  # fmt: skip
"""Words of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on."""

_GATEWAY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
_STATUS = re.compile(r"[1-5][0-9][0-9]")
_METHOD = re.compile(r"\*|[A-Z][A-Z-]{0,31}")
_OWN_FIELDS = frozenset(("uri", "scheme", "method", "authority"))


def virtual_service(spec: VirtualServiceSpec) -> Iterator[Finding]:
    """Hosts and gateways are well formed and told once."""
    seen: set[str] = set()
    in_mesh = not spec.gateways or MESH_GATEWAY in spec.gateways
    for index, host in enumerate(spec.hosts):
        if host in seen:
            yield duplicate(("hosts", index), f"the host '{host}' is given twice")
        seen.add(host)
        if host == "*" and in_mesh:
            message = "the host '*' cannot be used inside the mesh"
            yield conflicting(("hosts", index), message, "names of services, or gateways without 'mesh'")
    yield from gateway_names(("gateways",), spec.gateways)
    if not (spec.http or spec.tls or spec.tcp):
        yield missing((), "the document has no rules", "http, tls or tcp")
    if not spec.hosts:
        yield from _delegate(spec)


def _delegate(spec: VirtualServiceSpec) -> Iterator[Finding]:
    """What is handed on are requests; they come by the root's gateways, and go no further."""
    if spec.gateways:
        yield conflicting(("gateways",), "a document without hosts is a delegate, which has no gateways", "hosts")
    for field, given in (("tls", spec.tls), ("tcp", spec.tcp)):
        if given:
            yield conflicting((field,), "a document without hosts is a delegate, which has http rules only", "hosts")
    for index, http in enumerate(spec.http):
        if http.delegate is not None:
            message = "a document without hosts is a delegate, which hands nothing on"
            yield conflicting(("http", index, "delegate"), message, "hosts, or a route")


def gateway_names(path: FieldPath, names: Iterable[str]) -> Iterator[Finding]:
    """Names of gateways are well formed."""
    for index, name in enumerate(names):
        if _GATEWAY.fullmatch(name) is None:
            yield Finding((*path, index), f"found '{name[:80]}'", "mesh, or a Gateway as NAME or NAMESPACE/NAME")


def match_request(spec: HttpMatchRequest) -> Iterator[Finding]:
    """Parts of the request line have fields of their own."""
    yield from gateway_names(("gateways",), spec.gateways)
    for field, names in (("headers", spec.headers), ("withoutHeaders", spec.without_headers)):
        for name in names:
            if name.lower() in _OWN_FIELDS:
                yield Finding((field, name), f"'{name}' is no header", f"the field {name.lower()} of the match")


def http_route(spec: HttpRoute) -> Iterator[Finding]:
    """A rule does one thing, and says nothing that would have no effect on it."""
    actions = [
        name
        for name, given in (
            ("route", bool(spec.route)),
            ("redirect", spec.redirect is not None),
            ("directResponse", spec.direct_response is not None),
            ("delegate", spec.delegate is not None),
        )
        if given
    ]
    if not actions:
        yield missing((), "the rule does nothing", "one of route, redirect, directResponse, delegate")
    elif len(actions) > 1:
        yield conflicting((actions[1],), f"{' and '.join(actions)} exclude each other", "one of them")
    elif actions[0] not in ("route", "delegate"):
        yield from _without_route(spec, actions[0])
    if len(spec.route) > 1 and not any(each.weight for each in spec.route):
        yield missing(("route",), "the weights add up to 0", "weight in each destination")
    if spec.mirror is not None and spec.mirrors:
        yield conflicting(("mirrors",), "mirror and mirrors exclude each other", "one of them")
    if spec.mirror is None and spec.mirror_percentage is not None:
        yield missing(("mirrorPercentage",), "there is no 'mirror'", "mirror")


def _without_route(spec: HttpRoute, action: str) -> Iterator[Finding]:
    for field, given in (
        ("rewrite", spec.rewrite is not None),
        ("timeout", spec.timeout is not None),
        ("retries", spec.retries is not None),
        ("mirror", spec.mirror is not None),
        ("mirrors", bool(spec.mirrors)),
    ):
        if given:
            yield conflicting((field,), f"'{field}' has no effect on a rule with '{action}'", f"no {field}")


def redirect(spec: HttpRedirect) -> Iterator[Finding]:
    """Something is changed; one way to tell the port."""
    if spec.scheme not in ("", "http", "https"):
        yield Finding(("scheme",), f"found '{spec.scheme[:80]}'", "http or https")
    if spec.port is not None and spec.derive_port is not None:
        yield conflicting(("derivePort",), "port and derivePort exclude each other", "one of them")
    if not (spec.uri or spec.authority or spec.scheme or spec.port or spec.derive_port):
        yield missing((), "the redirect changes nothing", "one of uri, authority, scheme, port")


def rewrite(spec: HttpRewrite) -> Iterator[Finding]:
    """Something is changed; one way to tell the path."""
    if spec.uri and spec.uri_regex_rewrite is not None:
        yield conflicting(("uriRegexRewrite",), "uri and uriRegexRewrite exclude each other", "one of them")
    if not (spec.uri or spec.authority or spec.uri_regex_rewrite):
        yield missing((), "the rewrite changes nothing", "one of uri, authority, uriRegexRewrite")


def regex_rewrite(spec: RegexRewrite) -> Iterator[Finding]:
    """The rewrite refers to groups that the pattern has."""
    groups = regex_groups(spec.match)
    for escape in re.findall(r"\\.?", spec.rewrite, re.DOTALL):
        if escape[1:].isdecimal() and escape.isascii():
            if int(escape[1:]) > groups:
                yield Finding(("rewrite",), f"'{escape}' names a group that 'match' does not have", f"up to {groups}")
        elif escape != "\\\\":
            yield Finding(("rewrite",), f"found '{escape}'", "\\0 to \\9 for groups, \\\\ for a backslash")


def fault(spec: HttpFaultInjection) -> Iterator[Finding]:
    """At least one of the two."""
    if spec.delay is None and spec.abort is None:
        yield missing((), "the fault does nothing", "delay or abort")


def abort(spec: FaultAbort) -> Iterator[Finding]:
    """gRPC statuses are given by name."""
    if spec.grpc_status is not None and spec.grpc_status not in GRPC_STATUSES:
        found = f"found '{spec.grpc_status[:80]}'"
        yield Finding(("grpcStatus",), found, "a gRPC status in capital letters, such as UNAVAILABLE")


def retry(spec: HttpRetry) -> Iterator[Finding]:
    """Conditions are Envoy's words or statuses; nothing is retried without `attempts`."""
    for word in spec.retry_on.split(",") if spec.retry_on else ():
        condition = word.strip()
        if condition not in RETRY_CONDITIONS and _STATUS.fullmatch(condition) is None:
            yield Finding(("retryOn",), f"found '{condition[:80]}'", "one of " + ", ".join(sorted(RETRY_CONDITIONS)))
    if spec.attempts or not (spec.retry_on or spec.per_try_timeout is not None or spec.backoff is not None):
        return
    if spec.attempts == 0:
        yield conflicting(("attempts",), "0 attempts turn retries off, the other fields have no effect", "1 or more")
    else:
        message = "without 'attempts' nothing is retried (as in Istio), and the other fields have no effect"
        yield Finding((), message, "attempts", code="no-effect", severity=Severity.WARNING)


def body(spec: HttpBody) -> Iterator[Finding]:
    """Of limited size; bytes are in base64."""
    size = len((spec.string or "").encode())
    if spec.bytes_ is not None:
        try:
            size = len(read_base64(spec.bytes_))
        except FormError:
            yield Finding(("bytes",), "found something else", "base64")
    if size > MAX_BODY:
        field = "string" if spec.string is not None else "bytes"
        yield Finding((field,), f"found {size} bytes", f"at most {MAX_BODY} bytes", code="out-of-range")


def header_operations(spec: HeaderOperations) -> Iterator[Finding]:
    """Each header is changed in one way; to set the host is to rewrite it."""
    yield from header_changes(
        ((("set", name), name) for name in spec.set),
        ((("add", name), name) for name in spec.add),
        ((("remove", index), name) for index, name in enumerate(spec.remove)),
        "rewrite.authority",
        host_is_set=True,
    )
    yield from literal_values(((("set", name), value) for name, value in spec.set.items()), "Istio")
    yield from literal_values(((("add", name), value) for name, value in spec.add.items()), "Istio")


def headers(spec: Headers) -> Iterator[Finding]:
    """A response has no host."""
    for name in spec.response.set:
        if name.lower() in HOST_HEADERS:
            yield conflicting(("response", "set", name), "a response has no host", "another header, or request")


def cors(spec: CorsPolicy) -> Iterator[Finding]:
    """Methods are methods."""
    for index, method in enumerate(spec.allow_methods):
        if _METHOD.fullmatch(method) is None:
            yield Finding(("allowMethods", index), f"found '{method[:80]}'", "a method in capital letters, such as GET")


RULES: Mapping[type, tuple[Rule, ...]] = {
    VirtualServiceSpec: (virtual_service,),
    HttpMatchRequest: (match_request,),
    HttpRoute: (http_route,),
    HttpRedirect: (redirect,),
    HttpRewrite: (rewrite,),
    RegexRewrite: (regex_rewrite,),
    HttpFaultInjection: (fault,),
    FaultAbort: (abort,),
    HttpRetry: (retry,),
    HttpBody: (body,),
    HeaderOperations: (header_operations,),
    Headers: (headers,),
    CorsPolicy: (cors,),
}
