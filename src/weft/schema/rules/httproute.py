"""Rules of the Gateway API's HTTPRoute (the CEL rules of its definition)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from weft.model.origin import FieldPath
from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.forms import FORMS, FormError, read_regex
from weft.schema.kinds.httproute import (
    HOST_GROUP,
    HOST_KIND,
    BackendObjectReference,
    BackendRef,
    CorsFilter,
    ExternalAuth,
    Fraction,
    HeaderMatch,
    HeaderModifier,
    HttpRouteSpec,
    ParentReference,
    PathMatch,
    PathModifier,
    QueryParamMatch,
    RequestMirror,
    RouteFilter,
    RouteMatch,
    RouteRule,
    RouteTimeouts,
)
from weft.schema.rules.headers import header_changes, literal_values
from weft.schema.rules.spelling import misspelt

_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_CONFUSING = ("//", "/./", "/../", "%2f", "%2F", "#")
_FILTER_FIELDS = {
    "RequestHeaderModifier": ("requestHeaderModifier", "request_header_modifier"),
    "ResponseHeaderModifier": ("responseHeaderModifier", "response_header_modifier"),
    "RequestMirror": ("requestMirror", "request_mirror"),
    "RequestRedirect": ("requestRedirect", "request_redirect"),
    "URLRewrite": ("urlRewrite", "url_rewrite"),
    "CORS": ("cors", "cors"),
    "ExternalAuth": ("externalAuth", "external_auth"),
}


def http_route(spec: HttpRouteSpec) -> Iterator[Finding]:
    """Parents and rule names must differ from each other."""
    yield from attached_route(spec.parent_refs, [rule.name for rule in spec.rules])


def attached_route(parent_refs: Sequence[ParentReference], rule_names: Iterable[str | None]) -> Iterator[Finding]:
    """What every kind of route of the Gateway API must keep: parents and rule names differ from each other."""
    if not parent_refs:
        message = "the route attaches to nothing, so it has no effect"
        yield Finding((), message, "parentRefs", code="no-parent", severity=Severity.WARNING)
    parents = Counter((ref.group, ref.kind, ref.namespace, ref.name) for ref in parent_refs)
    seen: set[tuple[object, ...]] = set()
    for index, ref in enumerate(parent_refs):
        parent = (ref.group, ref.kind, ref.namespace, ref.name)
        exact = (*parent, ref.section_name, ref.port)
        if exact in seen:
            yield duplicate(("parentRefs", index), f"{ref.kind} '{ref.name}' is given twice")
        elif parents[parent] > 1 and ref.section_name is None and ref.port is None:
            message = f"{ref.kind} '{ref.name}' stands here several times"
            yield missing(("parentRefs", index), message, "sectionName or port in each")
        seen.add(exact)
    names: set[str] = set()
    for index, name in enumerate(rule_names):
        if name is not None and name in names:
            yield duplicate(("rules", index, "name"), f"the rule name '{name}' is given twice")
        names.add(name or "")


def parent_reference(spec: ParentReference) -> Iterator[Finding]:
    """The group is that of the kind."""
    if spec.kind == "ServiceEntry" and spec.group != HOST_GROUP:
        yield Finding(("group",), f"found '{spec.group}', a ServiceEntry is of another group", f"group: {HOST_GROUP}")
    elif spec.kind != "ServiceEntry" and spec.group == HOST_GROUP:
        message = f"{spec.kind} of {HOST_GROUP} cannot be referred to here"
        yield Finding(("kind",), message, "kind: ServiceEntry, or another group")
    elif spec.kind not in ("Service", "ServiceEntry") and not spec.group:
        yield Finding(("group",), f"the core group has no {spec.kind}", "kind: Service, or no group")


def path_match(spec: PathMatch) -> Iterator[Finding]:
    """Paths are absolute and in one spelling only."""
    if spec.type == "RegularExpression":
        yield from regex_finding(("value",), spec.value)
        return
    value = spec.value
    if not value.startswith("/"):
        yield Finding(("value",), "the path does not start with '/'", "an absolute path", f"/{value[:80]}")
    elif any(part in value for part in _CONFUSING) or value.endswith(("/..", "/.")):
        yield Finding(("value",), "the path has several spellings", "no '//', '/./', '/../', '%2F' or '#' in it")
    elif _PATH.fullmatch(value) is None:
        yield Finding(("value",), "the path holds characters that no path has", "others percent-encoded")


def value_match(spec: HeaderMatch | QueryParamMatch) -> Iterator[Finding]:
    """The value is a regular expression when `type` says so."""
    if spec.type == "RegularExpression":
        yield from regex_finding(("value",), spec.value)
    if spec.name.startswith(":"):
        yield Finding(("name",), "pseudo headers cannot be matched as headers")


def regex_finding(path: FieldPath, text: str) -> Iterator[Finding]:
    """What is wrong with a regular expression."""
    try:
        read_regex(text)
    except FormError as error:
        yield Finding(path, f"found '{text[:80]}' ({error})", FORMS["regex"].expected)


def route_match(spec: RouteMatch) -> Iterator[Finding]:
    """A header or parameter has one condition."""
    yield from repeated("headers", (match.name.lower() for match in spec.headers))
    yield from repeated("queryParams", (match.name for match in spec.query_params))


def repeated(field: str, names: Iterable[str]) -> Iterator[Finding]:
    """Names of conditions that stand twice."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield duplicate((field, index, "name"), f"'{name}' has a condition already")
        seen.add(name)


def header_modifier(spec: HeaderModifier) -> Iterator[Finding]:
    """Each header is changed in one way."""
    yield from header_changes(
        ((("set", index, "name"), each.name) for index, each in enumerate(spec.set)),
        ((("add", index, "name"), each.name) for index, each in enumerate(spec.add)),
        ((("remove", index), name) for index, name in enumerate(spec.remove)),
        "a URLRewrite filter with hostname",
    )
    yield from literal_values((("set", index, "value"), each.value) for index, each in enumerate(spec.set))
    yield from literal_values((("add", index, "value"), each.value) for index, each in enumerate(spec.add))


def route_filter(spec: RouteFilter) -> Iterator[Finding]:
    """The field of the filter's type is set, and no other."""
    for kind, (json, name) in _FILTER_FIELDS.items():
        given = getattr(spec, name) is not None
        if kind == spec.type and not given:
            yield missing((), f"a filter of type {kind} needs '{json}'", json)
        elif kind != spec.type and given:
            yield conflicting((json,), f"'{json}' does not belong to type {spec.type}", f"type: {kind}")


def path_modifier(spec: PathModifier) -> Iterator[Finding]:
    """The field of the modifier's type is set, and no other."""
    full, prefix = spec.replace_full_path, spec.replace_prefix_match
    wanted, other = ("replaceFullPath", "replacePrefixMatch")
    if spec.type == "ReplacePrefixMatch":
        full, prefix, wanted, other = prefix, full, other, wanted
    if full is None:
        yield missing((), f"type {spec.type} needs '{wanted}'", wanted)
    elif full and not full.startswith("/"):
        yield Finding((wanted,), "the path does not start with '/'", "an absolute path", f"/{full[:80]}")
    if prefix is not None:
        yield conflicting((other,), f"'{other}' does not belong to type {spec.type}")


def request_mirror(spec: RequestMirror) -> Iterator[Finding]:
    """One way to tell the share."""
    if spec.percent is not None and spec.fraction is not None:
        yield conflicting(("fraction",), "percent and fraction exclude each other", "one of them")


def external_auth(spec: ExternalAuth) -> Iterator[Finding]:
    """What is said is for its protocol."""
    for protocol, name, given in (("HTTP", "http", spec.http), ("GRPC", "grpc", spec.grpc)):
        if given is not None and spec.protocol != protocol:
            yield conflicting((name,), f"'{name}' does not belong to protocol {spec.protocol}", f"protocol: {protocol}")


def cors(spec: CorsFilter) -> Iterator[Finding]:
    """``*`` stands alone, and is no part of a name. With credentials browsers take an exposed ``*`` for the name of a
    header, and what an application answers with is not known beforehand."""
    for name, values in (("allowMethods", spec.allow_methods), ("allowHeaders", spec.allow_headers)):
        if "*" in values and len(values) > 1:
            yield conflicting((name, values.index("*")), "'*' allows all, beside it nothing is named", "'*', or names")
    for name, values in (("allowHeaders", spec.allow_headers), ("exposeHeaders", spec.expose_headers)):
        for index, value in enumerate(values):
            if "*" in value and value != "*":
                yield Finding((name, index), f"found '{value[:80]}'; browsers know no patterns", "'*', or whole names")
    if spec.allow_credentials and "*" in spec.expose_headers:
        message = "with allowCredentials browsers take '*' for the name of a header, so nothing would be exposed"
        yield conflicting(("exposeHeaders", spec.expose_headers.index("*")), message, "the headers by their names")


def fraction(spec: Fraction) -> Iterator[Finding]:
    """At most 1."""
    if spec.numerator > spec.denominator:
        yield Finding(("numerator",), f"found {spec.numerator} of {spec.denominator}", "at most the denominator")


def backend(spec: BackendObjectReference) -> Iterator[Finding]:
    """A Service, or a host, is called at a port. A kind is another one, or well written."""
    if not spec.group:
        yield from misspelt(("kind",), spec.kind, ("Service",))
    if spec.port is None and (spec.group, spec.kind) == ("", "Service"):
        yield missing((), "a Service is referred to with its 'port'", "port")
    if (spec.group, spec.kind) != (HOST_GROUP, HOST_KIND):
        return
    if spec.port is None:
        yield missing((), "a Hostname is referred to with its 'port'", "port")
    if spec.namespace is not None:
        yield Finding(("namespace",), "a Hostname is in no namespace", "the whole name of the host, no namespace")


def backend_ref(spec: BackendRef) -> Iterator[Finding]:
    """Filters of one backend change the request; they neither redirect nor mirror it, nor ask about it."""
    yield from backend(spec)
    yield from _filters(spec.filters)
    for index, each in enumerate(spec.filters):
        if each.type in ("RequestRedirect", "RequestMirror", "CORS", "ExternalAuth"):
            yield Finding(
                ("filters", index, "type"),
                f"{each.type} in a backend's filters is not supported by weft; put it into the rule's filters",
                code="unsupported-value",
            )


def timeouts(spec: RouteTimeouts) -> Iterator[Finding]:
    """A try is not longer than the request."""
    if spec.request and spec.backend_request is not None and spec.backend_request > spec.request:
        yield Finding(("backendRequest",), "longer than 'request'", f"at most {spec.request:g}s")


def route_rule(spec: RouteRule) -> Iterator[Finding]:
    """Filters fit together, and with matches and backends."""
    yield from _filters(spec.filters)
    kinds = {each.type for each in spec.filters}
    if "RequestRedirect" in kinds and spec.backend_refs:
        yield conflicting(("backendRefs",), "a rule that redirects has no backends", "no backendRefs")
    if "RequestRedirect" in kinds:
        yield from _idle_beside_redirect(spec)
    if len(spec.matches) == 1 and spec.matches[0].path.type == "PathPrefix":
        return
    lists: list[tuple[FieldPath, tuple[RouteFilter, ...]]] = [(("filters",), spec.filters)]
    lists += [(("backendRefs", index, "filters"), ref.filters) for index, ref in enumerate(spec.backend_refs)]
    for path, filters in lists:
        for index, each in enumerate(filters):
            for field, holder in (("requestRedirect", each.request_redirect), ("urlRewrite", each.url_rewrite)):
                if holder is not None and holder.path is not None and holder.path.type == "ReplacePrefixMatch":
                    message = "ReplacePrefixMatch goes with exactly one match, of type PathPrefix"
                    yield conflicting((*path, index, field, "path"), message, "ReplaceFullPath, or a rule per prefix")


def _idle_beside_redirect(spec: RouteRule) -> Iterator[Finding]:
    idle: list[FieldPath] = [
        ("filters", index)
        for index, each in enumerate(spec.filters)
        if each.type in ("RequestMirror", "RequestHeaderModifier")
    ]
    idle += [(name,) for name, given in _without_backends(spec) if given is not None]
    for path in idle:
        message = "it has no effect: the rule redirects, nothing is sent on"
        yield Finding(path, message, code="no-effect", severity=Severity.WARNING)


def _without_backends(spec: RouteRule) -> Iterable[tuple[str, object | None]]:
    return (
        ("timeouts", spec.timeouts),
        ("retry", spec.retry),
        ("sessionPersistence", spec.session_persistence),
    )


def _filters(filters: tuple[RouteFilter, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, each in enumerate(filters):
        path = ("filters", index, "type")
        if each.type in seen and each.type != "RequestMirror":
            yield duplicate(path, f"the filter {each.type} is given twice")
        elif each.type in ("RequestRedirect", "URLRewrite") and seen & (
            {"RequestRedirect", "URLRewrite"} - {each.type}
        ):
            yield conflicting(path, "RequestRedirect and URLRewrite exclude each other", "one of them")
        seen.add(each.type)


RULES: Mapping[type, tuple[Rule, ...]] = {
    HttpRouteSpec: (http_route,),
    ParentReference: (parent_reference,),
    PathMatch: (path_match,),
    HeaderMatch: (value_match,),
    QueryParamMatch: (value_match,),
    RouteMatch: (route_match,),
    HeaderModifier: (header_modifier,),
    RouteFilter: (route_filter,),
    PathModifier: (path_modifier,),
    RequestMirror: (request_mirror,),
    CorsFilter: (cors,),
    ExternalAuth: (external_auth,),
    Fraction: (fraction,),
    BackendObjectReference: (backend,),
    BackendRef: (backend_ref,),
    RouteTimeouts: (timeouts,),
    RouteRule: (route_rule,),
}
