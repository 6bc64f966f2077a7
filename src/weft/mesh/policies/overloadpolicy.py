"""OverloadPolicy: what the proxy of an application refuses on its behalf."""

from __future__ import annotations

from weft.mesh.policies.healthcheckpolicy import status_range
from weft.mesh.services.resilience import Admission, ConcurrencyLimit, Overload, StatusRange
from weft.model.document import Document
from weft.schema.kinds.overloadpolicy import AdaptiveConcurrency, AdmissionControl, OverloadPolicySpec

_FIRST_STATUS, _LAST_STATUS = 100, 599


def compile_overload(document: Document[OverloadPolicySpec]) -> Overload:
    """The limits of a policy."""
    concurrency, admission = document.spec.adaptive_concurrency, document.spec.admission_control
    return Overload(
        _concurrency(concurrency) if concurrency else None,
        _admission(admission) if admission else None,
        document.origin,
    )


def _concurrency(spec: AdaptiveConcurrency) -> ConcurrencyLimit:
    return ConcurrencyLimit(
        most=spec.max_concurrency,
        least=spec.min_concurrency,
        percentile=spec.latency_percentile,
        update_interval=spec.update_interval,
        measure_interval=spec.min_rtt_interval,
        measure_requests=spec.min_rtt_requests,
        buffer=spec.buffer_percent,
    )


def _admission(spec: AdmissionControl) -> Admission:
    return Admission(
        threshold=spec.success_rate_threshold,
        window=spec.sampling_window,
        aggression=spec.aggression,
        requests_per_second=spec.requests_per_second,
        most=spec.max_rejection_percent,
        successes=_others([status_range(text) for text in spec.failure_statuses]),
    )


def _others(failures: list[StatusRange]) -> tuple[StatusRange, ...]:
    """The statuses that are in none of the ranges."""
    found: list[StatusRange] = []
    start = _FIRST_STATUS
    for low, high in sorted(failures):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return tuple(found) if start > _LAST_STATUS else (*found, (start, _LAST_STATUS))
