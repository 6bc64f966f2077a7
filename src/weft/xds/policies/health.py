"""Active health checks: what a cluster tries at each of its endpoints.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.config.core.v3.health_check_pb2 import HealthCheck as EnvoyHealthCheck
from envoy.type.v3.http_pb2 import HTTP2
from envoy.type.v3.range_pb2 import Int64Range
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.services.resilience import HealthCheck
from weft.xds.limits import HEALTH_JITTER_PERCENT
from weft.xds.messages import duration

_METHODS: dict[str, RequestMethod.ValueType] = {
    "GET": RequestMethod.GET,
    "HEAD": RequestMethod.HEAD,
    "OPTIONS": RequestMethod.OPTIONS,
}


def set_health_check(cluster: Cluster, check: HealthCheck, *, http2: bool) -> None:
    """`http2`: what the cluster speaks. Endpoints that are not there any more are forgotten at once, whatever their
    last check said; checks of many proxies are spread out."""
    message = EnvoyHealthCheck(
        timeout=duration(check.timeout),
        interval=duration(check.interval),
        no_traffic_interval=duration(check.interval),
        interval_jitter_percent=HEALTH_JITTER_PERCENT,
        unhealthy_threshold=UInt32Value(value=check.unhealthy_threshold),
        healthy_threshold=UInt32Value(value=check.healthy_threshold),
    )
    if check.protocol == "http":
        _set_http(message, check, http2=http2)
    elif check.protocol == "grpc":
        message.grpc_health_check.service_name = check.service
        message.grpc_health_check.authority = check.host
    else:
        message.tcp_health_check.SetInParent()
        if check.send:
            message.tcp_health_check.send.text = check.send.hex()
        if check.receive:
            message.tcp_health_check.receive.add(text=check.receive.hex())
    cluster.health_checks.append(message)
    cluster.ignore_health_on_host_removal = True


def _set_http(message: EnvoyHealthCheck, check: HealthCheck, *, http2: bool) -> None:
    http = message.http_health_check
    http.host, http.path, http.method = check.host, check.path, _METHODS[check.method]
    http.expected_statuses.extend([Int64Range(start=low, end=high + 1) for low, high in check.statuses])
    if http2:
        http.codec_client_type = HTTP2
