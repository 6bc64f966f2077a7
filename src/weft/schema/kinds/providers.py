"""Providers of signals: MeshConfig's `extensionProviders` and `defaultProviders`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from weft.schema.kinds.extauthz import ExtAuthzGrpc, ExtAuthzHttp
from weft.schema.scalars import (
    HeaderName,
    HeaderValue,
    Length,
    LogFormat,
    LogPath,
    OneOf,
    PositiveDuration,
    ProviderService,
    Range,
    WrittenPort,
)

LogName = Annotated[str, Length(0, 253)]
Labels = Mapping[Annotated[str, Length(1, 256)], LogFormat]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusProvider:
    """Istio's standard metrics, which the agent serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHeader:
    """A header that goes with what is sent."""

    name: HeaderName
    value: HeaderValue


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpHttp:
    """OTLP over HTTP, instead of gRPC: the path, and how long a message may take."""

    path: Annotated[str, Length(1, 1024)]
    timeout: PositiveDuration | None = None
    headers: tuple[ProviderHeader, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpGrpc:
    """How long a message may take, and what goes with each."""

    timeout: PositiveDuration | None = None
    initial_metadata: tuple[ProviderHeader, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTelemetryProvider:
    """Traces over OTLP. `service` is a Service (``NAMESPACE/HOST`` or its full name) or a host outside the mesh."""

    one_of: ClassVar = OneOf(("http", "grpc"), required=False)
    service: ProviderService
    port: WrittenPort
    max_tag_length: Annotated[int, Range(1, 65536)] | None = None
    http: OtlpHttp | None = None
    grpc: OtlpGrpc | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipkinProvider:
    """Traces for Zipkin, and what reads its form."""

    service: ProviderService
    port: WrittenPort
    max_tag_length: Annotated[int, Range(1, 65536)] | None = None
    enable_64bit_trace_id: bool = field(default=False, metadata={"json": "enable64bitTraceId"})
    path: Annotated[str, Length(0, 1024)] = ""
    timeout: PositiveDuration | None = None
    headers: tuple[ProviderHeader, ...] = ()
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = "USE_B3"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLogFormat:
    """A text with Envoy's command operators, or a JSON object of such texts."""

    one_of: ClassVar = OneOf(("text", "labels"), required=False)
    text: LogFormat | None = None
    labels: Labels | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFileAccessLog:
    """Lines on standard output (``/dev/stdout``, also without `path`), or in a file of the proxy's directory, which is
    rotated."""

    path: LogPath = ""
    log_format: FileLogFormat | None = None
    omit_empty_values: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyHttpAls:
    """Envoy's gRPC log service, for requests."""

    service: ProviderService
    port: WrittenPort
    log_name: LogName = ""
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[HeaderName, ...] = ()
    additional_response_headers_to_log: tuple[HeaderName, ...] = ()
    additional_response_trailers_to_log: tuple[HeaderName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyTcpAls:
    """Envoy's gRPC log service, for connections."""

    service: ProviderService
    port: WrittenPort
    log_name: LogName = ""
    filter_state_objects_to_log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelLogFormat:
    """The body of a record, and its attributes."""

    text: LogFormat | None = None
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOtelAls:
    """Access logs over OTLP (gRPC)."""

    service: ProviderService
    port: WrittenPort
    log_name: LogName = ""
    log_format: OtelLogFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionProvider:
    """A provider and its name, by which Telemetry, AuthorizationPolicy and `defaultProviders` mean it."""

    one_of: ClassVar = OneOf(
        ("prometheus", "opentelemetry", "zipkin", "envoy_file_access_log", "envoy_http_als", "envoy_tcp_als",
         "envoy_otel_als", "envoy_ext_authz_http", "envoy_ext_authz_grpc")
    )  # fmt: skip
    name: Annotated[str, Length(1, 253)]
    prometheus: PrometheusProvider | None = None
    opentelemetry: OpenTelemetryProvider | None = None
    zipkin: ZipkinProvider | None = None
    envoy_file_access_log: EnvoyFileAccessLog | None = None
    envoy_http_als: EnvoyHttpAls | None = None
    envoy_tcp_als: EnvoyTcpAls | None = None
    envoy_otel_als: EnvoyOtelAls | None = None
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultProviders:
    """Providers where no Telemetry names any. `metrics: []` turns metrics off; without the field it is Prometheus."""

    metrics: tuple[str, ...] | None = None
    tracing: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()
