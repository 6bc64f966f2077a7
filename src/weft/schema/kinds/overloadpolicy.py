"""weft: OverloadPolicy, an instance's proxy refuses what its application could not answer well any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from weft.schema.kinds.servicepolicy import ServiceTargets
from weft.schema.scalars import Length, PositiveDuration, Range

Count = Annotated[int, Range(1, 1_000_000)]
Percentage = Annotated[int, Range(1, 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveConcurrency:
    """As many requests at once as do not make the application slower: the limit follows the latency at
    `latencyPercentile`, compared with that of an idle application, which is measured every `minRttInterval` with
    `minConcurrency` requests at once. `bufferPercent` is by how much it may be slower."""

    max_concurrency: Count = 1000
    min_concurrency: Count = 3
    latency_percentile: Percentage = 50
    update_interval: PositiveDuration = 0.1
    min_rtt_interval: PositiveDuration = 60.0
    min_rtt_requests: Count = 50
    buffer_percent: Annotated[int, Range(0, 100)] = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionControl:
    """Where less than `successRateThreshold` percent of the requests of the last `samplingWindow` succeeded, some are
    refused, by chance: the more of them failed, and at most `maxRejectionPercent`. `failureStatuses` are those of HTTP
    that are failures; of gRPC they are Envoy's. Nothing is refused below `requestsPerSecond`."""

    success_rate_threshold: Percentage = 95
    sampling_window: PositiveDuration = 30.0
    aggression: Annotated[float, Range(1, 10)] = 1.0
    requests_per_second: Annotated[int, Range(0, 1_000_000)] = 5
    max_rejection_percent: Percentage = 80
    failure_statuses: Annotated[tuple[Annotated[str, Length(3, 7)], ...], Length(1, 8)] = ("500-599",)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadPolicySpec:
    """What is refused gets 503 at once, before it reaches the application and after it is settled who may call. For
    ports that carry HTTP; each instance looks at its own requests alone."""

    target_refs: ServiceTargets
    adaptive_concurrency: AdaptiveConcurrency | None = None
    admission_control: AdmissionControl | None = None
