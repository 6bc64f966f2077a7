"""Which statistics a proxy keeps: those that somebody reads. Each costs memory per cluster and time per request."""

from __future__ import annotations

from envoy.config.metrics.v3.stats_pb2 import StatsConfig, StatsMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from weft.xds.nodes.names import END

STATS_PREFIX = "weft"
"""What statistics of traffic begin with (`weft.xds.signals.metrics`)."""
_PREFIXES = (
    f"{STATS_PREFIX}.",
    "server.",
    "listener_manager.",
    "cluster_manager.",
    "control_plane.",
    "runtime.",
    "overload.",
)
_SUFFIXES = (
    "downstream_cx_active",
    "downstream_rq_active",
    "upstream_cx_active",
    "upstream_rq_active",
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_overflow",
    "upstream_rq_pending_active",
    "upstream_rq_pending_overflow",
    "upstream_rq_timeout",
    "upstream_cx_overflow",
    "upstream_cx_connect_fail",
    "outlier_detection.ejections_active",
    "outlier_detection.ejections_enforced_total",
    "membership_healthy",
    "membership_total",
    "ssl.handshake",
    "ssl.connection_error",
    "ssl.fail_verify_san",
    "ssl.fail_verify_error",
    "ssl.fail_verify_no_cert",
)
_USE = (
    "http.outbound.downstream_cx_total",
    "tcp.upstream.downstream_cx_total",
    "http.inbound.downstream_rq_total",
    "http.inbound.downstream_rq_5xx",
    "tcp.inbound.downstream_cx_total",
)
"""What the agent asks to see whether the application uses its proxy (`weft.agent.usage`)."""
_VERDICTS = ".rbac."
"""Within the names of what access policies decided: totals, and of each rule that decided something."""


def stats_config(*, shared: bool = False) -> StatsConfig:
    """The process itself and its configuration, requests in flight (for an ordered stop), failed TLS, whether the proxy
    is used, what access policies decided, and of services what the metrics tell (`weft.agent.metrics.envoy`): retries,
    ejections, limits that were met. `shared`: names begin with whose they are (`weft.xds.nodes.names`)."""
    patterns = [StringMatcher(prefix=prefix) for prefix in _PREFIXES]
    patterns += [StringMatcher(suffix=suffix) for suffix in _SUFFIXES]
    patterns += [_of_all(name) if shared else StringMatcher(exact=name) for name in _USE]
    patterns.append(StringMatcher(contains=_VERDICTS))
    return StatsConfig(
        use_all_default_tags=BoolValue(value=False),
        stats_matcher=StatsMatcher(inclusion_list=ListStringMatcher(patterns=patterns)),
    )


def _of_all(name: str) -> StringMatcher:
    """A statistic of whichever workload it is: ``http.inbound.…`` is called ``http.WORKLOAD~NAMESPACE~inbound.…``."""
    return StringMatcher(suffix=f"{END}{name.partition('.')[2]}")
