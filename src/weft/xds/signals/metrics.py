"""Metrics, made by Envoy's stats access logger: statistics whose one tag holds all that tells series apart.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/access_loggers/stats/v3/stats.proto

A statistic costs by its tags, so there is one, of the fields below joined by ``;``; the agent takes it apart again
(`weft.agent.series`). Nothing in it is written by a client: status, flags, certificates, and what documents say. What a
callee can vary (its status codes) and what many workloads add up to is bounded by the scope of each logger: beyond its
limits nothing is kept, and what was not updated for two sweeps of `EVICTION_SECONDS` is forgotten. `all` counts
everything, so that what was not kept is known. (One scope for all loggers, by `sharing_name`, would be a bound for the
whole proxy. Envoy 1.40 crashes at its end with one, so there is a scope for each.)

Statistics of one request: `duration` (ms), `sent` and `received` (bytes of bodies). Of one connection: `opened`,
`closed`, `sent`, `received`; while a long one lives, the gauges `live.sent` and `live.received` say what it has carried
so far, with its number as one more field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    DurationFilter,
    LogTypeFilter,
    OrFilter,
)
from envoy.config.core.v3.base_pb2 import RuntimeUInt32
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from xds.type.v3.typed_struct_pb2 import TypedStruct

from weft.xds.filters.place import Place
from weft.xds.limits import (
    MAX_COUNTERS_OF_SIGNALS,
    MAX_GAUGES_OF_SIGNALS,
    MAX_HISTOGRAMS_OF_SIGNALS,
)
from weft.xds.messages import packed
from weft.xds.stats import STATS_PREFIX

SEPARATOR = ";"
_NAME = "envoy.access_loggers.stats"
_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_TAG = "key"

_Statistic = dict[str, Any]
_ENDED = "%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%GRPC_STATUS_NUMBER%"
_CALLEE = "%UPSTREAM_PEER_URI_SAN%", "%UPSTREAM_PEER_SUBJECT%"
_CALLER = "%DOWNSTREAM_PEER_URI_SAN%", "%DOWNSTREAM_PEER_SUBJECT%"
_ROUTE = "%METADATA(ROUTE:weft:object)%"
_HOST = "%METADATA(VIRTUAL_HOST:weft:service)%"
"""The service that a virtual host is for: all that is known where a request was answered without a cluster."""
_CLUSTER = "%UPSTREAM_CLUSTER%"
_INBOUND_SERVICE = "%ROUTE_NAME%"
"""Before an application the route's name says the service: to print a name costs a fifth of a look into metadata, and
every statistic prints the key anew."""
_NOTHING = "%RESPONSE_CODE%"
"""0, for a connection. A fixed value must be more, and an ended connection carries nothing any more."""
_SOONER = 0.5
"""Seconds."""
_CLUSTER_SERVICE = "%METADATA(CLUSTER:weft:service)%"

HTTP_KEYS = {
    Place.OUTBOUND: (*_ENDED, *_CALLEE, _ROUTE, _HOST, _CLUSTER),
    Place.GATEWAY: (*_ENDED, *_CALLEE, _ROUTE, _HOST, _CLUSTER),
    Place.INBOUND: (*_ENDED, *_CALLER, "", _INBOUND_SERVICE, ""),
}
TCP_KEYS = {
    Place.OUTBOUND: ("", "%RESPONSE_FLAGS%", "", *_CALLEE, "", "", _CLUSTER),
    Place.GATEWAY: ("", "%RESPONSE_FLAGS%", "", *_CALLEE, "", "", _CLUSTER),
    Place.INBOUND: ("", "%RESPONSE_FLAGS%", "", *_CALLER, "", _CLUSTER_SERVICE, ""),
}
"""Code, flags, gRPC status, the other side's identity and subject, the route's object, the virtual host's service, the
cluster."""


def http_metrics(place: Place, bounded: bool = True) -> AccessLog:
    """Requests by what tells them apart; `bounded` as in `_logger`."""
    key = SEPARATOR.join(HTTP_KEYS[place])
    values = (
        ("all", "", "Milliseconds", "%DURATION%"),
        ("duration", key, "Milliseconds", "%DURATION%"),
        ("received", key, "Bytes", "%BYTES_RECEIVED%"),
        ("sent", key, "Bytes", "%BYTES_SENT%"),
    )
    return _logger(
        bounded=bounded,
        histograms=[
            {"stat": _stat(place, name, tag), "unit": unit, "value_format": value} for name, tag, unit, value in values
        ],
    )


def tcp_metrics(place: Place, report: float, bounded: bool = True) -> Iterator[AccessLog]:
    """Connections by what tells them apart: when one has been made, when it has ended and, in between, what it carries
    (`tcp_proxy` says so every `report` seconds)."""
    key = SEPARATOR.join(TCP_KEYS[place])
    carried = (("received", "%BYTES_RECEIVED%"), ("sent", "%BYTES_SENT%"))
    opened: list[_Statistic] = [{"stat": _stat(place, "opened", key), "value_fixed": 1}]
    closed: list[_Statistic] = [{"stat": _stat(place, name, key), "value_format": value} for name, value in carried]
    closed += [{"stat": _stat(place, "closed", key), "value_fixed": 1}]
    closed += [{"stat": _stat(place, "all.closed"), "value_fixed": 1}]
    each = f"{key}{SEPARATOR}%CONNECTION_ID%"
    live: list[_Statistic] = []
    for name, value in carried:
        stat = _stat(place, f"live.{name}", each)
        live.append({"stat": stat, "value_format": value, "set": {"log_type": "TcpPeriodic"}})
        live.append({"stat": stat, "value_format": _NOTHING, "set": {"log_type": "TcpConnectionEnd"}})
    yield _logger(_when(AccessLogType.TcpUpstreamConnected), bounded=bounded, counters=opened)
    yield _logger(_when(AccessLogType.TcpConnectionEnd), bounded=bounded, counters=closed)
    if bounded:  # an Envoy that cannot forget series would keep a gauge of each connection
        yield _logger(_lived_long(report), bounded=True, gauges=live)


def _stat(place: Place, name: str, key: str = "") -> _Statistic:
    tags = [{"name": _TAG, "value_format": key}] if key else []
    return {"name": f"{place.name.lower()}.{name}", "tags": tags}


def _logger(when: AccessLogFilter | None = None, *, bounded: bool, **statistics: object) -> AccessLog:
    """A logger with its scope, or (not `bounded`) without one, as Envoys before 1.39 have it. The protobuf classes we
    have are older than the scope and the gauges, so the configuration goes as a TypedStruct, which Envoy reads by its
    own schema."""
    scope = {
        "prefix": STATS_PREFIX,
        "max_histograms": MAX_HISTOGRAMS_OF_SIGNALS,
        "max_counters": MAX_COUNTERS_OF_SIGNALS,
        "max_gauges": MAX_GAUGES_OF_SIGNALS,
        "enable_eviction": True,
    }
    where: dict[str, object] = {"stats_scope": scope} if bounded else {"stat_prefix": STATS_PREFIX}
    config = ParseDict({**where, **statistics}, Struct())
    logger = AccessLog(name=_NAME, typed_config=packed(TypedStruct(type_url=_TYPE, value=config)))
    if when is not None:
        logger.filter.CopyFrom(when)
    return logger


def _when(*types: AccessLogType.ValueType) -> AccessLogFilter:
    return AccessLogFilter(log_type_filter=LogTypeFilter(types=types))


def _lived_long(report: float) -> AccessLogFilter:
    """Reports of living connections, and the end of one that has been reported: short ones need no gauge. A busy Envoy
    may report sooner than `report` seconds after the beginning, for its timers begin at the time of its last look at
    the clock; such an end must not be missed, or the gauge would count on."""
    sooner = min(_SOONER, report / 2)
    least = RuntimeUInt32(default_value=round((report - sooner) * 1000), runtime_key="weft.unused")
    longer = AccessLogFilter(
        duration_filter=DurationFilter(comparison=ComparisonFilter(op=ComparisonFilter.GE, value=least))
    )
    ended = AndFilter(filters=[_when(AccessLogType.TcpConnectionEnd), longer])
    either = OrFilter(filters=[_when(AccessLogType.TcpPeriodic), AccessLogFilter(and_filter=ended)])
    return AccessLogFilter(or_filter=either)
