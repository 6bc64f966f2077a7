"""Istio telemetry: Telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Literal

from weft.schema.kinds.gateway import GroupName, KindName
from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.scalars import (
    CelExpression,
    HeaderName,
    Length,
    LogFormat,
    MetricLabel,
    Name,
    OneOf,
    Percent,
    PositiveDuration,
    Subdomain,
    VariableName,
)

TELEMETRY_GROUP: Final = "telemetry.istio.io"

WorkloadMode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Metric = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRef:
    """A provider of MeshConfig's `extensionProviders`, or one that is always there: `envoy` (access logs to standard
    output) and `prometheus`."""

    name: Annotated[str, Length(1, 253)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSelector:
    """Calls that the workload makes (CLIENT), those that come to it (SERVER), or both. A gateway is a CLIENT."""

    mode: WorkloadMode = "CLIENT_AND_SERVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """A CEL expression over Envoy's attributes: a line is written where it is true."""

    expression: CelExpression = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogging:
    """Access logs. Without `providers` those of the wider scope."""

    match: ModeSelector = ModeSelector()
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteralTag:
    """A text."""

    value: Annotated[str, Length(1, 4096)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentTag:
    """A variable of the proxy's environment."""

    name: VariableName
    default_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderTag:
    """A header of the request."""

    name: HeaderName
    default_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatterTag:
    """Command operators of access logs."""

    value: LogFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTag:
    """One of the four."""

    one_of: ClassVar = OneOf(("literal", "environment", "header", "formatter"))
    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: HeaderTag | None = None
    formatter: FormatterTag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Traces. What it does not say is as in the wider scope; `customTags` take the place of those there."""

    match: ModeSelector = ModeSelector()
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Percent | None = None
    disable_span_reporting: bool | None = None
    custom_tags: Mapping[Annotated[str, Length(1, 256)], CustomTag] | None = None
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSelector:
    """Which metrics, of which side. Without `metric` all of them."""

    one_of: ClassVar = OneOf(("metric", "custom_metric"), required=False)
    metric: Metric | None = None
    custom_metric: str | None = None
    mode: WorkloadMode = "CLIENT_AND_SERVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOverride:
    """UPSERT gives the label this value: a text in quotes, or an attribute that callers cannot choose freely
    (`destination.port`, `response.code`, `request.protocol`, `response.grpc_status`, `xds.cluster_name`), also in
    `string(…)`. REMOVE takes it away: series that differ by it become one."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: Annotated[str, Length(0, 1024)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOverrides:
    """A change of the metrics selected. Later ones go over earlier ones, and narrower scopes over wider ones."""

    match: MetricSelector = MetricSelector()
    disabled: bool | None = None
    tag_overrides: Mapping[MetricLabel, TagOverride] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics. Without `providers` those of the wider scope. `reportingInterval` is how often bytes of open TCP
    connections are counted."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: PositiveDuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReference:
    """A Gateway of the namespace, whose proxies are meant; or a GatewayClass, in the root namespace; or a Service,
    whose workloads are meant."""

    kind: KindName
    name: Subdomain
    group: GroupName = ""
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySpec:
    """https://istio.io/latest/docs/reference/config/telemetry/

    Without `selector` and `targetRefs` it is for the namespace, in the root namespace for the whole mesh. What narrower
    scopes say goes over what wider ones say.

    The annotation `weft.dev/access-log-sampling` (a percentage) thins out the access logs of its scope: what failed is
    always written.
    """

    selector: WorkloadSelector | None = None
    target_ref: TargetReference | None = None
    target_refs: Annotated[tuple[TargetReference, ...], Length(0, 16)] = ()
    access_logging: tuple[AccessLogging, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
