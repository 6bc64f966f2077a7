"""Access logs: a line, a record or a message for each request or connection that has ended.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage

The default formats are Istio's. What a client may choose in them is cut at a length that no honest client comes near.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ExtensionFilter,
    GrpcStatusFilter,
    HeaderFilter,
    LogTypeFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import DataSource, RuntimeUInt32
from envoy.config.core.v3.config_source_pb2 import V3
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.substitution_format_string_pb2 import JsonFormatOptions, SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from envoy.extensions.formatter.req_without_query.v3.req_without_query_pb2 import ReqWithoutQuery
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from xds.type.v3.typed_struct_pb2 import TypedStruct

from weft.mesh.signals import AccessLog as MeshAccessLog
from weft.mesh.signals import FileSink, GrpcSink, OtlpSink, Reporter
from weft.model.telemetry import LOG_DIRECTORY
from weft.xds.messages import PROVENANCE, packed, share
from weft.xds.signals.collectors import grpc_service, resource_attributes

LONGEST_CLIENT_TEXT = 4096
"""Bytes of a header in the default formats."""
DEFAULT_LABELS = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""Istio's JSON format."""
DEFAULT_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's text format."""

_STREAMS: dict[str, type[Message]] = {"/dev/stdout": StdoutAccessLog, "/dev/stderr": StderrAccessLog}
_UNCUT = re.compile(r"(%(?:REQ|RESP)\([^)]*\))%")
_SAMPLED = "weft.access_log_percent"
"""A runtime key that nobody sets, which Envoy's filter must have."""
_FIRST_FAILURE = 500
_GRPC = "application/grpc"
ACCESS_LOG = "access_log"
"""Where a route's metadata says whether its requests have lines."""
_WORD = f"xds.route_metadata.filter_metadata['{PROVENANCE}'].{ACCESS_LOG}"
_NOT_OFF = (
    f"!has(xds.route_metadata) || !('{PROVENANCE}' in xds.route_metadata.filter_metadata) || "
    f"!('{ACCESS_LOG}' in xds.route_metadata.filter_metadata['{PROVENANCE}']) || {_WORD} != 'off'"
)
_ON = f"{_WORD} == 'on'"


def http_access_log(log: MeshAccessLog, reporter: Reporter | None) -> AccessLog | None:
    """The logger of requests; None if it is one of connections."""
    if isinstance(log.sink, GrpcSink) and log.sink.tcp:
        return None
    return _logger(log, _http_filter(log), reporter)


def tcp_access_log(log: MeshAccessLog, reporter: Reporter | None) -> AccessLog | None:
    """The logger of connections; None if it is one of requests, or of what routes ask for."""
    if (isinstance(log.sink, GrpcSink) and not log.sink.tcp) or not log.by_default:
        return None
    ended = AccessLogFilter(log_type_filter=LogTypeFilter(types=[AccessLogType.TcpConnectionEnd]))
    failed = AccessLogFilter(response_flag_filter=ResponseFlagFilter())
    return _logger(log, _both((ended, *_expression(log), *_sampled(log, failed))), reporter)


def _logger(log: MeshAccessLog, chosen: AccessLogFilter | None, reporter: Reporter | None) -> AccessLog:
    match log.sink:
        case FileSink():
            name, config = _file(log.sink)
        case OtlpSink():
            name, config = "envoy.access_loggers.open_telemetry", _otlp(log.sink, reporter)
        case GrpcSink(tcp=True):
            name, config = "envoy.tcp_grpc_access_log", TcpGrpcAccessLogConfig(common_config=_common(log.sink))
        case GrpcSink():
            name, config = "envoy.http_grpc_access_log", _http_service(log.sink)
    return AccessLog(name=name, typed_config=packed(config), filter=chosen)


def _http_filter(log: MeshAccessLog) -> AccessLogFilter | None:
    own = _both((*_expression(log), *_sampled(log, _failed())))
    if log.on_by_route:
        on = _cel(_ON)
        own = on if not log.by_default else own and AccessLogFilter(or_filter=OrFilter(filters=[own, on]))
    if log.off_by_route:
        own = _both([_cel(_NOT_OFF), *([own] if own is not None else [])])
    return own


def _expression(log: MeshAccessLog) -> Iterable[AccessLogFilter]:
    if log.filter:
        yield _cel(log.filter)


def _cel(expression: str) -> AccessLogFilter:
    config = packed(ExpressionFilter(expression=expression))
    extension = ExtensionFilter(name="envoy.access_loggers.extension_filters.cel", typed_config=config)
    return AccessLogFilter(extension_filter=extension)


def _sampled(log: MeshAccessLog, failed: AccessLogFilter) -> Iterable[AccessLogFilter]:
    """A share of all, and all that failed. With a request's id, every proxy on its way draws the same lot."""
    if log.sampling < 100:
        drawn = RuntimeFilter(runtime_key=_SAMPLED, percent_sampled=share(log.sampling))
        yield AccessLogFilter(or_filter=OrFilter(filters=[AccessLogFilter(runtime_filter=drawn), failed]))


def _failed() -> AccessLogFilter:
    """A status of 5xx, a response flag (there was no answer, or Envoy gave it), or a gRPC status other than OK."""
    status = ComparisonFilter(
        op=ComparisonFilter.GE, value=RuntimeUInt32(default_value=_FIRST_FAILURE, runtime_key="weft.access_log_status")
    )
    grpc = HeaderMatcher(name="content-type", string_match=StringMatcher(prefix=_GRPC))
    return AccessLogFilter(
        or_filter=OrFilter(
            filters=[
                AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=status)),
                AccessLogFilter(response_flag_filter=ResponseFlagFilter()),
                AccessLogFilter(
                    and_filter=AndFilter(
                        filters=[
                            AccessLogFilter(header_filter=HeaderFilter(header=grpc)),
                            AccessLogFilter(
                                grpc_status_filter=GrpcStatusFilter(statuses=[GrpcStatusFilter.OK], exclude=True)
                            ),
                        ]
                    )
                ),
            ]
        )
    )


def _both(filters: Iterable[AccessLogFilter]) -> AccessLogFilter | None:
    """All of `filters`; None for none."""
    every = list(filters)
    if len(every) > 1:
        return AccessLogFilter(and_filter=AndFilter(filters=every))
    return every[0] if every else None


def _file(sink: FileSink) -> tuple[str, Message]:
    stream = _STREAMS.get(sink.path)
    form = _json(sink) if sink.json else _text(sink)
    if stream is not None:
        name = sink.path.removeprefix("/dev/")
        return f"envoy.access_loggers.{name}", stream(log_format=form)
    return "envoy.access_loggers.file", FileAccessLog(path=f"{LOG_DIRECTORY}/{sink.path}", log_format=form)


def _text(sink: FileSink) -> SubstitutionFormatString:
    text = sink.format or cut(DEFAULT_TEXT)
    text = text if text.endswith("\n") else text + "\n"
    source = DataSource(inline_string=text)
    return SubstitutionFormatString(
        text_format_source=source, omit_empty_values=sink.omit_empty, formatters=_formatters(text)
    )


def _json(sink: FileSink) -> SubstitutionFormatString:
    labels = json.loads(sink.format) if sink.format else {name: cut(text) for name, text in DEFAULT_LABELS.items()}
    form = SubstitutionFormatString(
        omit_empty_values=sink.omit_empty,
        formatters=_formatters(json.dumps(labels)),
        json_format_options=JsonFormatOptions(sort_properties=False),
    )
    form.json_format.update(labels)
    return form


def cut(text: str) -> str:
    """A format whose headers are cut at LONGEST_CLIENT_TEXT."""
    return _UNCUT.sub(rf"\1:{LONGEST_CLIENT_TEXT}%", text)


def _formatters(text: str) -> Iterable[TypedExtensionConfig]:
    if "%REQ_WITHOUT_QUERY" in text:
        yield TypedExtensionConfig(name="envoy.formatter.req_without_query", typed_config=packed(ReqWithoutQuery()))


def _otlp(sink: OtlpSink, reporter: Reporter | None) -> TypedStruct:
    """The protobuf classes we have are older than the fields for name and collector, and Envoy warns of those they had
    before: the configuration goes as a TypedStruct, which Envoy reads by its own schema."""
    body = sink.body or cut(DEFAULT_TEXT).rstrip("\n")
    config = OpenTelemetryAccessLogConfig(
        body=AnyValue(string_value=body),
        attributes=_pairs(sink.attributes),
        disable_builtin_labels=True,
        formatters=_formatters(body + "".join(text for _, text in sink.attributes)),
    )
    if reporter is not None:
        told = {"service.name": reporter.service, **resource_attributes(reporter)}
        config.resource_attributes.CopyFrom(_pairs(sorted(told.items())))
    fields = {
        **MessageToDict(config, preserving_proto_field_name=True),
        "grpc_service": MessageToDict(grpc_service(sink.collector), preserving_proto_field_name=True),
        "log_name": sink.name or "otel_envoy_accesslog",
    }
    return TypedStruct(type_url=f"type.googleapis.com/{config.DESCRIPTOR.full_name}", value=ParseDict(fields, Struct()))


def _pairs(pairs: Iterable[tuple[str, str]]) -> KeyValueList:
    return KeyValueList(values=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs])


def _common(sink: GrpcSink) -> CommonGrpcAccessLogConfig:
    kind = "tcp" if sink.tcp else "http"
    return CommonGrpcAccessLogConfig(
        log_name=sink.name or f"{kind}_envoy_accesslog",
        grpc_service=grpc_service(sink.collector),
        transport_api_version=V3,
        filter_state_objects_to_log=sink.filter_state,
    )


def _http_service(sink: GrpcSink) -> HttpGrpcAccessLogConfig:
    return HttpGrpcAccessLogConfig(
        common_config=_common(sink),
        additional_request_headers_to_log=sink.request_headers,
        additional_response_headers_to_log=sink.response_headers,
        additional_response_trailers_to_log=sink.response_trailers,
    )
