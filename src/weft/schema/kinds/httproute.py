"""Gateway API v1: HTTPRoute, for Gateway parents and (GAMMA) Service parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from weft.schema.kinds.gateway import GATEWAY_GROUP, GroupName, KindName
from weft.schema.kinds.sessionpersistence import SessionPersistence
from weft.schema.scalars import (
    CorsOrigin,
    GatewayDuration,
    HeaderName,
    HeaderValue,
    Hostname,
    Length,
    Name,
    Port,
    PreciseHostname,
    Range,
    Subdomain,
)

HOST_GROUP: Final = "networking.istio.io"
HOST_KIND: Final = "Hostname"
"""How Istio has a route of the Gateway API name a host instead of an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentReference:
    """What the route attaches to: a Gateway (default), a ListenerSet, a Service (`group` empty, `kind` Service), or the
    hosts of a ServiceEntry (`group` networking.istio.io)."""

    name: Subdomain
    group: Literal["gateway.networking.k8s.io", "", "networking.istio.io"] = GATEWAY_GROUP
    kind: Literal["Gateway", "ListenerSet", "Service", "ServiceEntry"] = "Gateway"
    namespace: Name | None = None
    section_name: Subdomain | None = None
    port: Port | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMatch:
    """Path condition. PathPrefix matches whole segments."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Length(0, 1024)] = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """Header condition."""

    name: HeaderName
    value: Annotated[str, Length(1, 4096)]
    type: Literal["Exact", "RegularExpression"] = "Exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParamMatch:
    """Query parameter condition."""

    name: HeaderName
    value: Annotated[str, Length(1, 1024)]
    type: Literal["Exact", "RegularExpression"] = "Exact"


Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """All conditions must hold."""

    path: PathMatch = PathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], Length(0, 16)] = ()
    query_params: Annotated[tuple[QueryParamMatch, ...], Length(0, 16)] = ()
    method: Method | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHeader:
    """A header name and value."""

    name: HeaderName
    value: Annotated[HeaderValue, Length(1, 4096)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderModifier:
    """Headers to set, add and remove."""

    set: Annotated[tuple[HttpHeader, ...], Length(0, 16)] = ()
    add: Annotated[tuple[HttpHeader, ...], Length(0, 16)] = ()
    remove: Annotated[tuple[HeaderName, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendObjectReference:
    """A Service and port; another namespace needs a ReferenceGrant. Or the host of a ServiceEntry or Service by its
    name and port (`group` networking.istio.io, `kind` Hostname). The share of what is neither answers 500."""

    name: Subdomain
    group: GroupName = ""
    kind: KindName = "Service"
    namespace: Name | None = None
    port: Port | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraction:
    """A share of requests."""

    numerator: Annotated[int, Range(0, 2**31 - 1)]
    denominator: Annotated[int, Range(1, 2**31 - 1)] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMirror:
    """Send a copy to `backend_ref`; all requests unless `percent` or `fraction` says less."""

    backend_ref: BackendObjectReference
    percent: Annotated[int, Range(0, 100)] | None = None
    fraction: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathModifier:
    """Replace the whole path or its matched prefix."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[HeaderValue, Length(0, 1024)] | None = None
    replace_prefix_match: Annotated[HeaderValue, Length(0, 1024)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRedirect:
    """Answer with a redirect."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRewrite:
    """Rewrite host and path on the way to the backend."""

    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsFilter:
    """Which pages of other origins (GEP-1767) may use the answers; preflight requests are answered here. An origin is
    ``*``, or a scheme and host such as ``https://shop.example.com``, whose host may begin with ``*.``. ``*`` allows the
    methods and headers that a preflight request asks for, whatever they are, and exposes all headers."""

    allow_origins: Annotated[tuple[CorsOrigin, ...], Length(0, 64)] = ()
    allow_credentials: bool = False
    allow_methods: Annotated[tuple[Annotated[HeaderValue, Length(1, 32)], ...], Length(0, 9)] = ()
    allow_headers: Annotated[tuple[HeaderName, ...], Length(0, 64)] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], Length(0, 64)] = ()
    max_age: Annotated[int, Range(1, 2**31 - 1)] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuthHttp:
    """An HTTP server: 200 lets the request pass. It sees method, host, path, length, `authorization` and these headers.
    Of its answer the application gets `allowedResponseHeaders`; without any those that begin with ``x-``, and
    `authorization`."""

    path: Annotated[str, Length(0, 1024)] = ""
    allowed_headers: Annotated[tuple[HeaderName, ...], Length(0, 64)] = ()
    allowed_response_headers: Annotated[tuple[HeaderName, ...], Length(0, 64)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuthGrpc:
    """A server of Envoy's protocol. It sees these headers; without any, all."""

    allowed_headers: Annotated[tuple[HeaderName, ...], Length(0, 64)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardBody:
    """How many bytes of the body the server sees."""

    max_size: Annotated[int, Range(0, 65535)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuth:
    """Ask a Service whether a request may pass (GEP-1494, experimental). While it does not answer nothing passes."""

    protocol: Literal["HTTP", "GRPC"]
    backend_ref: BackendObjectReference
    grpc: ExternalAuthGrpc | None = None
    http: ExternalAuthHttp | None = None
    forward_body: ForwardBody = ForwardBody()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFilter:
    """One filter; the field of its type must be set and no other."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExternalAuth",
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: CorsFilter | None = None
    external_auth: ExternalAuth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRef(BackendObjectReference):
    """A weighted backend with filters of its own."""

    weight: Annotated[int, Range(0, 1_000_000)] = 1
    filters: Annotated[tuple[RouteFilter, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTimeouts:
    """Whole request, and each try; 0 means none."""

    request: GatewayDuration | None = None
    backend_request: GatewayDuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRetry:
    """Gateway API retry (GEP-1731)."""

    codes: tuple[Annotated[int, Range(400, 599)], ...] = ()
    attempts: Annotated[int, Range(0, 100)] | None = None
    backoff: GatewayDuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """A rule; without matches it matches every request; without backends it answers 500 (unless redirected)."""

    name: Subdomain | None = None
    matches: Annotated[tuple[RouteMatch, ...], Length(0, 64)] = (RouteMatch(),)
    filters: Annotated[tuple[RouteFilter, ...], Length(0, 16)] = ()
    backend_refs: Annotated[tuple[BackendRef, ...], Length(0, 16)] = ()
    timeouts: RouteTimeouts | None = None
    retry: RouteRetry | None = None
    session_persistence: SessionPersistence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRouteSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#httproute"""

    parent_refs: Annotated[tuple[ParentReference, ...], Length(0, 32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Length(0, 16)] = ()
    rules: Annotated[tuple[RouteRule, ...], Length(1, 16)] = (RouteRule(),)
