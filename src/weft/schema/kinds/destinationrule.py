"""Istio networking: DestinationRule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from weft.schema.kinds.locality import LocalityLbSetting, ZoneAwareLbSetting
from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.kinds.virtualservice import PortSelector
from weft.schema.scalars import (
    CookieName,
    Duration,
    Export,
    HeaderName,
    HeaderValue,
    LabelKey,
    LabelValue,
    Length,
    MeshHost,
    Name,
    OneOf,
    Percent,
    Port,
    PositiveDuration,
    PreciseHostname,
    Range,
)

UInt = Annotated[int, Range(0, 2**31 - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCookie:
    """Hash on a cookie; with a `ttl` it is made where it is missing (0s: for the session)."""

    name: CookieName
    path: HeaderValue = ""
    ttl: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash:
    """Ketama ring."""

    minimum_ring_size: UInt = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Maglev:
    """Maglev table."""

    table_size: UInt = 65537


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentHash:
    """Soft session affinity: exactly one key, at most one of the two algorithms (ring by default).

    `minimum_ring_size` is the old spelling of `ring_hash.minimum_ring_size`.
    """

    one_of: ClassVar = OneOf(("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name"))
    http_header_name: HeaderName | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: Annotated[str, Length(1, 1024)] | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: UInt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A new endpoint gets its full share of requests after `duration`, and `minimum_percent` of it at first. With an
    `aggression` above 1 it gets more of them sooner."""

    duration: PositiveDuration
    minimum_percent: Percent = 10.0
    aggression: Annotated[float, Range(1, 100)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """Either a simple algorithm or a consistent hash. LEAST_CONN is the old spelling of LEAST_REQUEST, and
    `warmup_duration_secs` that of `warmup.duration`. `warmup` goes with ROUND_ROBIN and LEAST_REQUEST."""

    one_of: ClassVar = OneOf(("simple", "consistent_hash"), required=False)
    simple: Literal["UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM"] | None = None
    consistent_hash: ConsistentHash | None = None
    warmup: Warmup | None = None
    warmup_duration_secs: PositiveDuration | None = None
    locality_lb_setting: LocalityLbSetting | None = None
    zone_aware_lb_setting: ZoneAwareLbSetting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    """SO_KEEPALIVE settings."""

    probes: UInt | None = None
    time: PositiveDuration | None = None
    interval: PositiveDuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings:
    """Limits of TCP connections, kept by the callers' proxies. `idle_timeout` (an hour; 0s: none) also counts for HTTP
    where its own is not given; the callee's proxy closes after an hour without a byte in any case."""

    max_connections: UInt | None = None
    connect_timeout: PositiveDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Limits of HTTP connections and requests, and the version that is spoken with servers that have no proxy of the
    mesh: UPGRADE is HTTP/2 (over TLS, if the server agrees), and with `use_client_protocol` it is that of the caller.
    Proxies of the mesh always speak HTTP/2 among themselves."""

    http1_max_pending_requests: UInt | None = field(default=None, metadata={"json": "http1MaxPendingRequests"})
    http2_max_requests: UInt | None = field(default=None, metadata={"json": "http2MaxRequests"})
    max_requests_per_connection: UInt | None = None
    max_retries: UInt | None = None
    idle_timeout: Duration | None = None
    max_concurrent_streams: UInt | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = field(
        default="DEFAULT", metadata={"json": "h2UpgradePolicy"}
    )
    use_client_protocol: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """Circuit breaking."""

    tcp: TcpSettings | None = None
    http: HttpSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """Ejection of failing endpoints. `consecutive_errors` is the old spelling of `consecutive_gateway_errors`."""

    consecutive_5xx_errors: UInt | None = field(default=None, metadata={"json": "consecutive5xxErrors"})
    consecutive_gateway_errors: UInt | None = None
    consecutive_errors: UInt | None = None
    consecutive_local_origin_failures: UInt | None = None
    split_external_local_origin_errors: bool = False
    interval: PositiveDuration | None = None
    base_ejection_time: PositiveDuration | None = None
    max_ejection_percent: Annotated[int, Range(0, 100)] | None = None
    min_health_percent: Annotated[int, Range(0, 100)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """TLS towards the destination. ISTIO_MUTUAL is the mesh's; SIMPLE, and MUTUAL with a certificate of one's own,
    are for servers without a proxy.

    `credential_name` is a Secret in the namespace of the calling proxy: `tls.crt`, `tls.key`, `ca.crt`, `ca.crl` (or
    `cert`, `key`, `cacert`, `crl`), the authorities also in a Secret `NAME-cacert`. Gateways have it; sidecars, if the
    DestinationRule has a `workload_selector` that selects them. Without it the authorities are those that the proxy's
    machine trusts, which `ca_certificates` may say as `system`. Without `sni` the server is asked for by the host of
    each request, and has to prove that name unless `subject_alt_names` has others.
    """

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    credential_name: Annotated[str, Length(0, 253)] = ""
    ca_certificates: Annotated[str, Length(0, 1024)] = ""
    subject_alt_names: tuple[Annotated[str, Length(1, 2048)], ...] = ()
    sni: Annotated[str, Length(0, 253)] = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """The host is an HTTP proxy: TCP and TLS connections are led through it to a target, which it is asked for with
    CONNECT, or with a POST whose body is the connection (Envoy reads such)."""

    protocol: Literal["CONNECT", "POST"] = "CONNECT"
    target_host: PreciseHostname
    target_port: Port


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyProtocol:
    """Connections begin with who called, as PROXY protocol of this version has it. For servers without a proxy of the
    mesh."""

    version: Literal["V1", "V2"] = "V1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many of the requests that a proxy has under way may be retries, in per cent, and how many may be in any case.
    It takes the place of connectionPool's `max_retries`."""

    percent: Percent = 20.0
    min_retry_concurrency: UInt = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PortTrafficPolicy:
    """Policy of one port. It inherits nothing: for that port it replaces all other settings, a subset's those of the
    destination, too."""

    port: PortSelector
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """Policy of a destination or subset; a subset's fields override the destination's one by one."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Endpoints of the host that carry all of `labels`."""

    name: Name
    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRuleSpec:
    """https://istio.io/latest/docs/reference/config/networking/destination-rule/

    `host` is a service, or with a leading `*.` every service under it that has no rule of its own. With a
    `workload_selector` it is for those callers of its namespace only.
    """

    host: MeshHost
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[Export, ...] = ()
