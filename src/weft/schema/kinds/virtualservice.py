"""Istio networking: VirtualService."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from weft.schema.scalars import (
    AddressRange,
    Duration,
    Export,
    HeaderName,
    HeaderValue,
    LabelKey,
    LabelValue,
    Length,
    MatchedHeader,
    MeshHost,
    Name,
    OneOf,
    Percent,
    Port,
    PositiveDuration,
    PresenceRegex,
    Range,
    Regex,
    Scalar,
    ServiceHost,
    SettableHeader,
    Subdomain,
)

StatPrefix = Annotated[str, Scalar("stat-prefix")]
"""A word of Envoy's statistics: `vhost.HOST.route.PREFIX.…` counts the requests of the match."""
SomeValue = Annotated[HeaderValue, Length(1, 16384)]
"""An empty header would not be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StringMatch:
    """Exactly one of the three."""

    one_of: ClassVar = OneOf(("exact", "prefix", "regex"))
    exact: str | None = None
    prefix: Annotated[str, Length(1, 8192)] | None = None
    regex: Regex | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartMatch:
    """A StringMatch, or empty ({}), which every request meets."""

    one_of: ClassVar = OneOf(("exact", "prefix", "regex"), required=False)
    exact: str | None = None
    prefix: Annotated[str, Length(1, 8192)] | None = None
    regex: Regex | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceMatch:
    """A StringMatch, or empty ({}), which asks only that the header or parameter is there, as does ``regex: "*"``."""

    one_of: ClassVar = OneOf(("exact", "prefix", "regex"), required=False)
    exact: str | None = None
    prefix: Annotated[str, Length(1, 8192)] | None = None
    regex: PresenceRegex | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMatchRequest:
    """All conditions must hold. At gateways, `headers` and `withoutHeaders` may name claims of the request's token:
    `@request.auth.claims.NAME`, deeper `@request.auth.claims[NAME][NAME]`. See [tokens](../jwt.md#routes)."""

    name: str = ""
    uri: PartMatch | None = None
    scheme: PartMatch | None = None
    method: PartMatch | None = None
    authority: PartMatch | None = None
    headers: Mapping[MatchedHeader, PresenceMatch] = field(default_factory=dict)
    without_headers: Mapping[MatchedHeader, PresenceMatch] = field(default_factory=dict)
    query_params: Mapping[Annotated[str, Length(1, 1024)], PresenceMatch] = field(default_factory=dict)
    ignore_uri_case: bool = False
    port: Port | None = None
    source_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    source_namespace: Name = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: StatPrefix = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSelector:
    """A port by number."""

    number: Port


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A service by host (short names are of the document's namespace), one of its subsets and ports."""

    host: ServiceHost
    subset: Name = ""
    port: PortSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderOperations:
    """Headers to set, add and remove. To set `Host` or `:authority` of a request means `rewrite.authority`."""

    set: Mapping[SettableHeader, SomeValue] = field(default_factory=dict)
    add: Mapping[HeaderName, SomeValue] = field(default_factory=dict)
    remove: tuple[HeaderName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Header operations on the request and on the response."""

    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRouteDestination:
    """A weighted destination."""

    destination: Destination
    weight: Annotated[int, Range(0, 2**31 - 1)] = 0
    headers: Headers = Headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRedirect:
    """Answer with a redirect."""

    uri: HeaderValue = ""
    authority: HeaderValue = ""
    port: Port | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str = ""
    redirect_code: Literal[301, 302, 303, 307, 308] = 301


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBody:
    """A body given as text, or as base64 of bytes."""

    one_of: ClassVar = OneOf(("string", "bytes_"))
    string: str | None = None
    bytes_: str | None = field(default=None, metadata={"json": "bytes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDirectResponse:
    """A fixed answer."""

    status: Annotated[int, Range(200, 599)]
    body: HttpBody | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRewrite:
    """Replace what `match` finds by `rewrite` (\\1 and so on refer to its groups)."""

    match: Regex
    rewrite: HeaderValue


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRewrite:
    """`uri` replaces the matched prefix, or the whole path of an exact or regex match."""

    uri: HeaderValue = ""
    authority: HeaderValue = ""
    uri_regex_rewrite: RegexRewrite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentValue:
    """A share of requests, 0 to 100, fractions allowed."""

    value: Percent


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDelay:
    """Delay a share of requests: none unless `percentage` says so. `percent` is its old spelling."""

    fixed_delay: PositiveDuration
    percentage: PercentValue | None = None
    percent: Annotated[int, Range(0, 100)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultAbort:
    """Answer a share of requests with an error: none unless `percentage` says so. `percent` is its old spelling."""

    one_of: ClassVar = OneOf(("http_status", "grpc_status"))
    http_status: Annotated[int, Range(200, 599)] | None = None
    grpc_status: str | None = None
    percentage: PercentValue | None = None
    percent: Annotated[int, Range(0, 100)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFaultInjection:
    """Faults for tests."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRetry:
    """Retries after the first try; `attempts` 0 means none, and so does leaving it out."""

    attempts: Annotated[int, Range(0, 100)] | None = None
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    backoff: Duration | None = None
    retry_ignore_previous_hosts: bool = True
    retry_remote_localities: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMirrorPolicy:
    """One of several mirrors."""

    destination: Destination
    percentage: PercentValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsPolicy:
    """Cross-origin rules. `allow_origin` (a list of exact origins, "*" for all) is the old spelling. Preflight requests
    of other origins are the application's business (FORWARD) or answered without any permission (IGNORE)."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[HeaderName, ...] = ()
    expose_headers: tuple[HeaderName, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool = False
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "FORWARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """A VirtualService without hosts whose rules stand here. Its namespace is the document's unless it is given."""

    name: Subdomain
    namespace: Name = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """One rule, tried in order; without `match` it matches every request."""

    name: str = ""
    match: tuple[HttpMatchRequest, ...] = ()
    route: tuple[HttpRouteDestination, ...] = ()
    redirect: HttpRedirect | None = None
    direct_response: HttpDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HttpRewrite | None = None
    timeout: Duration | None = None
    retries: HttpRetry | None = None
    fault: HttpFaultInjection | None = None
    mirror: Destination | None = None
    mirror_percentage: PercentValue | None = None
    mirror_percent: Annotated[int, Range(0, 100)] | None = field(
        default=None, metadata={"aliases": ("mirror_percent", "mirrorPercent")}
    )
    mirrors: tuple[HttpMirrorPolicy, ...] = ()
    cors_policy: CorsPolicy | None = None
    headers: Headers = Headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDestination:
    """A weighted destination of connections. An only one gets all of them."""

    destination: Destination
    weight: Annotated[int, Range(0, 2**31 - 1)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMatchAttributes:
    """All conditions must hold. `sniHosts` are server names that clients ask for, each among the document's hosts."""

    sni_hosts: Annotated[tuple[MeshHost, ...], Length(1, 1024)]
    destination_subnets: tuple[AddressRange, ...] = ()
    port: Port | None = None
    source_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    source_namespace: Name = ""
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsRoute:
    """One rule for TLS that is carried unopened: ports whose name or appProtocol says https or tls, and listeners of
    gateways that pass it through. The most specific server name decides; of rules with the same one the first."""

    match: Annotated[tuple[TlsMatchAttributes, ...], Length(1, 1024)]
    route: Annotated[tuple[RouteDestination, ...], Length(1, 1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class L4MatchAttributes:
    """All conditions must hold."""

    destination_subnets: tuple[AddressRange, ...] = ()
    port: Port | None = None
    source_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    source_namespace: Name = ""
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRoute:
    """One rule for connections of other ports that carry no HTTP, tried in order; without `match` it takes all."""

    match: Annotated[tuple[L4MatchAttributes, ...], Length(0, 1024)] = ()
    route: Annotated[tuple[RouteDestination, ...], Length(1, 1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceSpec:
    """https://istio.io/latest/docs/reference/config/networking/virtual-service/

    Without hosts it is the delegate of others.
    """

    hosts: Annotated[tuple[MeshHost, ...], Length(0, 1024)] = ()
    gateways: tuple[str, ...] = ()
    http: Annotated[tuple[HttpRoute, ...], Length(0, 1024)] = ()
    tls: Annotated[tuple[TlsRoute, ...], Length(0, 1024)] = ()
    export_to: tuple[Export, ...] = ()
    tcp: Annotated[tuple[TcpRoute, ...], Length(0, 1024)] = ()
