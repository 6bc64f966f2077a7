"""weft: EjectionPolicy, instances of a Service that answer worse than the others get no calls for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from weft.schema.kinds.servicepolicy import ServiceTargets
from weft.schema.scalars import PositiveDuration, Range

Hosts = Annotated[int, Range(1, 100_000)]
Requests = Annotated[int, Range(1, 1_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRateEjection:
    """Ejects whose rate of success is more than `deviations` standard deviations below the mean, where at least
    `minimumHosts` had `requestVolume` calls in an interval."""

    deviations: Annotated[float, Range(0.1, 10)] = 1.9
    minimum_hosts: Hosts = 5
    request_volume: Requests = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePercentageEjection:
    """Ejects who fails at least `threshold` percent of its calls, where at least `minimumHosts` had `requestVolume` of
    them in an interval."""

    threshold: Annotated[int, Range(1, 100)] = 85
    minimum_hosts: Hosts = 5
    request_volume: Requests = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionPolicySpec:
    """What a caller's proxy compares beside what `outlierDetection` of a DestinationRule counts. `interval`,
    `baseEjectionTime` and `maxEjectionPercent` hold where that does not say."""

    target_refs: ServiceTargets
    success_rate: SuccessRateEjection | None = None
    failure_percentage: FailurePercentageEjection | None = None
    interval: PositiveDuration = 10.0
    base_ejection_time: PositiveDuration = 30.0
    max_ejection_percent: Annotated[int, Range(0, 100)] = 50
