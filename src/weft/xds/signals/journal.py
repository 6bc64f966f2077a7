"""The journal and the tap: lines about requests in files of the workload's directory, which its agent reads.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage

The journal has requests that failed or were slow; its path has no query, which may hold secrets. It is on where the
bootstrap says so, which an agent writes that empties the file: an older one would let it grow. The tap has every
request with its headers while somebody watches, switched on by Envoy's runtime: no listener changes. The agent empties
both files and masks what is secret before anything leaves the host.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    DurationFilter,
    ExtensionFilter,
    GrpcStatusFilter,
    LogTypeFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import RuntimeUInt32
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.type.v3.percent_pb2 import FractionalPercent

from weft.model.requests import DENIED
from weft.xds.filters.place import Place
from weft.xds.messages import packed

JOURNAL_FILE = "requests.log"
TAP_FILE = "tap.log"
"""Relative to the directory in which Envoy is started."""
JOURNAL_KEY = "weft.journal"
TAP_KEY = "weft.tap"
"""The runtime keys that switch them on: per cent of what they are for."""
_NAME = "envoy.access_loggers.file"
_CEL = "envoy.access_loggers.extension_filters.cel"
_FAILED = 500
_SLOW_MS = 1000
_COMMON = {
    "time": "%START_TIME(%s.%3f)%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "closed": "%CONNECTION_TERMINATION_DETAILS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "ms": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
    "cluster": "%UPSTREAM_CLUSTER%",
}
_HTTP = {
    "id": "%REQ(X-REQUEST-ID):64%",
    "trace": "%REQ(TRACEPARENT):55%",
    "method": "%REQ(:METHOD):16%",
    "host": "%REQ(:AUTHORITY):256%",
    "status": "%RESPONSE_CODE%",
    "first": "%RESPONSE_DURATION%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "object": "%METADATA(ROUTE:weft:object)%",
    "source": "%METADATA(ROUTE:weft:src)%",
}
_JOURNAL = {"path": "%PATH(NQ):512%"}
_TAP = {"path": "%PATH(WQ):1024%", "headers": "%TYPED_CEL(request.headers)%"}


def http_journal(place: Place) -> AccessLog:
    """Requests with a status of 500 or more, a response flag, a gRPC status of failure, that a policy denied, or that
    took a second."""
    wanted = AndFilter(filters=[_switch(JOURNAL_KEY), _noteworthy(place)])
    return _log(JOURNAL_FILE, AccessLogFilter(and_filter=wanted), _COMMON | _HTTP | _JOURNAL | _place(place))


def tcp_journal(place: Place) -> AccessLog:
    """Connections that ended with a response flag."""
    flagged = AccessLogFilter(response_flag_filter=ResponseFlagFilter())
    ended = AccessLogFilter(log_type_filter=LogTypeFilter(types=[AccessLogType.TcpConnectionEnd]))
    wanted = AndFilter(filters=[_switch(JOURNAL_KEY), ended, flagged])
    return _log(JOURNAL_FILE, AccessLogFilter(and_filter=wanted), _COMMON | _place(place))


def http_tap(place: Place) -> AccessLog:
    """Every request, while the runtime says so."""
    return _log(TAP_FILE, _switch(TAP_KEY), _COMMON | _HTTP | _TAP | _place(place))


def _switch(key: str) -> AccessLogFilter:
    """Off unless the runtime says otherwise."""
    switch = RuntimeFilter(runtime_key=key, percent_sampled=FractionalPercent(), use_independent_randomness=True)
    return AccessLogFilter(runtime_filter=switch)


def _place(place: Place) -> dict[str, str]:
    """The side, and who the other side proved to be."""
    side = "DOWNSTREAM" if place is Place.INBOUND else "UPSTREAM"
    return {"side": place.name.lower(), "peer": f"%{side}_PEER_SUBJECT%"}


def _noteworthy(place: Place) -> AccessLogFilter:
    statuses = (
        GrpcStatusFilter.UNAVAILABLE,
        GrpcStatusFilter.INTERNAL,
        GrpcStatusFilter.DEADLINE_EXCEEDED,
        GrpcStatusFilter.RESOURCE_EXHAUSTED,
        GrpcStatusFilter.DATA_LOSS,
    )
    found = [
        AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=_at_least(_FAILED, "weft.journal.status"))),
        AccessLogFilter(response_flag_filter=ResponseFlagFilter()),
        AccessLogFilter(duration_filter=DurationFilter(comparison=_at_least(_SLOW_MS, "weft.journal.slow_ms"))),
        AccessLogFilter(grpc_status_filter=GrpcStatusFilter(statuses=statuses)),
    ]
    if place is not Place.OUTBOUND:  # who calls is asked where it is called
        found.append(_denied())
    return AccessLogFilter(or_filter=OrFilter(filters=found))


def _denied() -> AccessLogFilter:
    """Refused by a policy, and not by the application. Other answers are not looked at more closely than by status."""
    refused = AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=_at_least(401, "weft.journal.denied")))
    words = " || ".join(f"response.code_details.startsWith('{begin}')" for begin in DENIED)
    by_policy = AccessLogFilter(
        extension_filter=ExtensionFilter(name=_CEL, typed_config=packed(ExpressionFilter(expression=words)))
    )
    return AccessLogFilter(and_filter=AndFilter(filters=[refused, by_policy]))


def _at_least(value: int, key: str) -> ComparisonFilter:
    return ComparisonFilter(op=ComparisonFilter.GE, value=RuntimeUInt32(default_value=value, runtime_key=key))


def _log(path: str, wanted: AccessLogFilter, fields: Mapping[str, str]) -> AccessLog:
    form = SubstitutionFormatString(omit_empty_values=True)
    form.json_format.update(dict(fields))
    return AccessLog(name=_NAME, filter=wanted, typed_config=packed(FileAccessLog(path=path, log_format=form)))
