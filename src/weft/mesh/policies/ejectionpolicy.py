"""EjectionPolicy: how the instances of a service are compared with each other."""

from __future__ import annotations

from weft.mesh.services.resilience import Comparison, FailurePercentage, SuccessRate
from weft.model.document import Document
from weft.schema.kinds.ejectionpolicy import EjectionPolicySpec


def compile_comparison(document: Document[EjectionPolicySpec]) -> Comparison:
    """What callers compare."""
    spec = document.spec
    rate, failures = spec.success_rate, spec.failure_percentage
    return Comparison(
        success_rate=SuccessRate(rate.deviations, rate.minimum_hosts, rate.request_volume) if rate else None,
        failure_percentage=(
            FailurePercentage(failures.threshold, failures.minimum_hosts, failures.request_volume) if failures else None
        ),
        interval=spec.interval,
        base_time=spec.base_ejection_time,
        max_percent=spec.max_ejection_percent,
    )
