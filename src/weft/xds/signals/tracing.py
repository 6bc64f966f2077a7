"""Traces: whether an HTTP connection manager makes a span of a request, what the span says, and where it goes.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/trace/v3/opentelemetry.proto
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/trace/v3/zipkin.proto

Who decides which requests are sampled is said in `weft.xds.signals.sampling` for OpenTelemetry. Zipkin's tracer takes a
caller's decision, or Envoy's where there is none; what strangers say of it is removed before it looks.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.trace.v3.http_tracer_pb2 import Tracing as TracingProvider
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    RequestIDExtension,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2 import (
    StaticConfigResourceDetectorConfig,
)
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey, MetadataKind
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag as EnvoyTag
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.signals import CustomTag, Reporter, Signals, Tracing
from weft.xds.filters.place import Place
from weft.xds.messages import packed
from weft.xds.signals.collectors import collector_name, grpc_service, http_service, resource_attributes
from weft.xds.signals.sampling import sampler

STRANGERS_DECISIONS = ("x-b3-sampled", "x-b3-flags", "b3", "traceparent")
"""Request headers by which a client of a gateway that traces with Zipkin would decide. The last two are one text with
its ids, so these go as well; those of B3 in several headers stay."""
_RULE, _SOURCE, _PEER = "weft.rule", "weft.source", "weft.peer"
_NAME = "%REQ(:METHOD)% %CEL(xds.virtual_host_name)%"
"""What a span is called: collectors list these names, so that none holds what clients wrote as a host or a path."""
_PEERS = {
    Place.INBOUND: "%DOWNSTREAM_PEER_SUBJECT%",
    Place.OUTBOUND: "%UPSTREAM_PEER_SUBJECT%",
    Place.GATEWAY: "%UPSTREAM_PEER_SUBJECT%",
}
_TRACES_PATH = "/v1/traces"
_SPANS_PATH = "/api/v2/spans"


def set_tracing(manager: HttpConnectionManager, signals: Signals, place: Place) -> None:
    """Spans of the requests that `manager` carries, if there are to be any."""
    tracing = signals.tracing
    if tracing is None:
        return
    zipkin = tracing.provider == "zipkin"
    manager.request_id_extension.CopyFrom(_request_ids(zipkin))
    manager.tracing.CopyFrom(
        HttpConnectionManager.Tracing(
            client_sampling=Percent(value=0),
            random_sampling=Percent(value=tracing.sampling if zipkin else 100),
            overall_sampling=Percent(value=100),
            max_path_tag_length=UInt32Value(value=tracing.max_path_length),
            custom_tags=_tags(tracing.tags, place),
            operation=_NAME,
            spawn_upstream_span=BoolValue(value=place is Place.GATEWAY and tracing.strangers_decide),
            provider=_provider(tracing, signals.reporter, place),
        )
    )


def strangers_decisions(signals: Signals) -> tuple[str, ...]:
    """Request headers that are removed at the edge so that strangers do not decide what is traced."""
    tracing = signals.tracing
    if tracing is None or tracing.provider != "zipkin" or tracing.strangers_decide:
        return ()
    return STRANGERS_DECISIONS


def _request_ids(decide: bool) -> RequestIDExtension:
    """Where they `decide`, Envoy samples nothing that has an id which is no UUID, whatever its caller says."""
    config = UuidRequestIdConfig(use_request_id_for_trace_sampling=BoolValue(value=decide))
    return RequestIDExtension(typed_config=packed(config))


def _tags(given: tuple[CustomTag, ...], place: Place) -> Iterator[EnvoyTag]:
    """The rule that decided, who is on the other side, and what documents ask for."""
    if place is not Place.INBOUND:
        for name, key in ((_RULE, "object"), (_SOURCE, "src")):
            yield EnvoyTag(tag=name, metadata=_of_route(key))
    yield EnvoyTag(tag=_PEER, value=_PEERS[place])
    for tag in given:
        yield _tag(tag)


def _of_route(key: str) -> EnvoyTag.Metadata:
    path = [MetadataKey.PathSegment(key=key)]
    return EnvoyTag.Metadata(
        kind=MetadataKind(route=MetadataKind.Route()), metadata_key=MetadataKey(key="weft", path=path)
    )


def _tag(tag: CustomTag) -> EnvoyTag:
    match tag.kind:
        case "literal":
            return EnvoyTag(tag=tag.name, literal=EnvoyTag.Literal(value=tag.value))
        case "header":
            header = EnvoyTag.Header(name=tag.value, default_value=tag.default)
            return EnvoyTag(tag=tag.name, request_header=header)
        case "environment":
            variable = EnvoyTag.Environment(name=tag.value, default_value=tag.default)
            return EnvoyTag(tag=tag.name, environment=variable)
        case "formatter":
            return EnvoyTag(tag=tag.name, value=tag.value)


def _provider(tracing: Tracing, reporter: Reporter | None, place: Place) -> TracingProvider.Http:
    if tracing.provider == "zipkin":
        return _named("envoy.tracers.zipkin", _zipkin(tracing))
    return _named("envoy.tracers.opentelemetry", _opentelemetry(tracing, reporter, place))


def _named(name: str, config: Message) -> TracingProvider.Http:
    return TracingProvider.Http(name=name, typed_config=packed(config))


def _opentelemetry(tracing: Tracing, reporter: Reporter | None, place: Place) -> OpenTelemetryConfig:
    config = OpenTelemetryConfig()
    if tracing.provider == "opentelemetry-grpc":
        config.grpc_service.CopyFrom(grpc_service(tracing.collector, tracing.headers, tracing.timeout))
    else:
        path = tracing.path or _TRACES_PATH
        config.http_service.CopyFrom(http_service(tracing.collector, path, tracing.headers, tracing.timeout))
    if reporter is not None:
        config.service_name = reporter.service
        static = StaticConfigResourceDetectorConfig(attributes=resource_attributes(reporter))
        name = "envoy.tracers.opentelemetry.resource_detectors.static_config"
        config.resource_detectors.append(TypedExtensionConfig(name=name, typed_config=packed(static)))
    config.sampler.CopyFrom(sampler(tracing, place))
    return config


def _zipkin(tracing: Tracing) -> ZipkinConfig:
    """Each hop has a span of its own: the two sides of a call are two proxies, with two clocks and two views."""
    path = tracing.path or _SPANS_PATH
    option = ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION if tracing.w3c else ZipkinConfig.USE_B3
    service = http_service(tracing.collector, path, tracing.headers, tracing.timeout)
    return ZipkinConfig(
        collector_cluster=collector_name(tracing.collector, grpc=False),
        collector_endpoint=path,
        collector_endpoint_version=ZipkinConfig.HTTP_JSON,
        collector_service=service,
        trace_id_128bit=not tracing.short_ids,
        shared_span_context=BoolValue(value=False),
        trace_context_option=option,
    )
