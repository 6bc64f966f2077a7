"""Adaptive concurrency and admission control: filters before an application whose policy asks for them.

Neither has a form that routes could enable with their own values, and both keep what they have measured, which a change
of routes would lose. They stand in the chains of such ports only.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/adaptive_concurrency_filter
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/admission_control_filter
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3.base_pb2 import RuntimeDouble, RuntimeFeatureFlag, RuntimePercent, RuntimeUInt32
from envoy.extensions.filters.http.adaptive_concurrency.v3.adaptive_concurrency_pb2 import (
    AdaptiveConcurrency,
    GradientControllerConfig,
)
from envoy.extensions.filters.http.admission_control.v3.admission_control_pb2 import AdmissionControl
from envoy.type.v3.http_status_pb2 import HttpStatus, ServiceUnavailable
from envoy.type.v3.percent_pb2 import Percent
from envoy.type.v3.range_pb2 import Int32Range
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.services.resilience import Admission, ConcurrencyLimit, Overload
from weft.xds.messages import duration

CONCURRENCY = "envoy.filters.http.adaptive_concurrency"
ADMISSION = "envoy.filters.http.admission_control"
_ON = BoolValue(value=True)


def overload_configs(overload: Overload | None) -> Mapping[str, Message]:
    """What stands in the chain, by the filters' names."""
    found: dict[str, Message] = {}
    if overload is not None and overload.admission is not None:
        found[ADMISSION] = _admission(overload.admission)
    if overload is not None and overload.concurrency is not None:
        found[CONCURRENCY] = _concurrency(overload.concurrency)
    return found


def _concurrency(limit: ConcurrencyLimit) -> AdaptiveConcurrency:
    gradient = GradientControllerConfig(
        sample_aggregate_percentile=Percent(value=limit.percentile),
        concurrency_limit_params=GradientControllerConfig.ConcurrencyLimitCalculationParams(
            max_concurrency_limit=UInt32Value(value=limit.most),
            concurrency_update_interval=duration(limit.update_interval),
        ),
        min_rtt_calc_params=GradientControllerConfig.MinimumRTTCalculationParams(
            interval=duration(limit.measure_interval),
            request_count=UInt32Value(value=limit.measure_requests),
            min_concurrency=UInt32Value(value=limit.least),
            buffer=Percent(value=limit.buffer),
        ),
    )
    return AdaptiveConcurrency(
        gradient_controller_config=gradient,
        enabled=RuntimeFeatureFlag(default_value=_ON),
        concurrency_limit_exceeded_status=HttpStatus(code=ServiceUnavailable),
    )


def _admission(admission: Admission) -> AdmissionControl:
    http = AdmissionControl.SuccessCriteria.HttpCriteria(
        http_success_status=[Int32Range(start=low, end=high + 1) for low, high in admission.successes]
    )
    return AdmissionControl(
        enabled=RuntimeFeatureFlag(default_value=_ON),
        success_criteria=AdmissionControl.SuccessCriteria(http_criteria=http),
        sampling_window=duration(admission.window),
        aggression=RuntimeDouble(default_value=admission.aggression, runtime_key="weft.admission.aggression"),
        sr_threshold=RuntimePercent(
            default_value=Percent(value=admission.threshold), runtime_key="weft.admission.threshold"
        ),
        rps_threshold=RuntimeUInt32(default_value=admission.requests_per_second, runtime_key="weft.admission.rps"),
        max_rejection_probability=RuntimePercent(
            default_value=Percent(value=admission.most), runtime_key="weft.admission.most"
        ),
    )
