"""Rules of policies for Services: HealthCheckPolicy, FallbackPolicy, EjectionPolicy, OverloadPolicy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.ejectionpolicy import EjectionPolicySpec
from weft.schema.kinds.fallbackpolicy import FallbackPolicySpec
from weft.schema.kinds.healthcheckpolicy import HealthCheckPolicySpec, HttpHealthCheck, TcpHealthCheck
from weft.schema.kinds.overloadpolicy import AdaptiveConcurrency, AdmissionControl, OverloadPolicySpec

_STATUSES = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", re.ASCII)
_EXPECTED = "a status such as 204, or a range such as 200-299"
_SHORTEST_WINDOW = 1.0


def targets(
    spec: HealthCheckPolicySpec | FallbackPolicySpec | EjectionPolicySpec | OverloadPolicySpec,
) -> Iterator[Finding]:
    """Each target is named once."""
    names = [(target.name, target.section_name) for target in spec.target_refs]
    for index, each in enumerate(names):
        if each in names[:index]:
            yield duplicate(("targetRefs", index), f"Service '{each[0]}' is named twice")


def fallbacks(spec: FallbackPolicySpec) -> Iterator[Finding]:
    """Each fallback is named once."""
    names = [(each.namespace, each.name, each.port) for each in spec.fallback_refs]
    for index, each in enumerate(names):
        if each in names[:index]:
            yield duplicate(("fallbackRefs", index), f"Service '{each[1]}' is named twice")


def http_check(spec: HttpHealthCheck) -> Iterator[Finding]:
    """Statuses that can be read."""
    yield from _statuses(("expectedStatuses",), spec.expected_statuses)


def tcp_check(spec: TcpHealthCheck) -> Iterator[Finding]:
    """What is sent is answered."""
    if spec.send and not spec.receive:
        yield missing(("send",), "nothing is expected in answer to it", "receive")


def ejection(spec: EjectionPolicySpec) -> Iterator[Finding]:
    """Something is compared."""
    if spec.success_rate is None and spec.failure_percentage is None:
        yield missing((), "it compares nothing", "successRate or failurePercentage")


def overload(spec: OverloadPolicySpec) -> Iterator[Finding]:
    """Something is limited."""
    if spec.adaptive_concurrency is None and spec.admission_control is None:
        yield missing((), "it limits nothing", "adaptiveConcurrency or admissionControl")


def concurrency(spec: AdaptiveConcurrency) -> Iterator[Finding]:
    """The least is no more than the most."""
    if spec.min_concurrency > spec.max_concurrency:
        message = f"{spec.min_concurrency} is more than maxConcurrency, {spec.max_concurrency}"
        yield conflicting(("minConcurrency",), message, "at most maxConcurrency")


def admission(spec: AdmissionControl) -> Iterator[Finding]:
    """A window of whole seconds, and statuses that can be read."""
    if spec.sampling_window < _SHORTEST_WINDOW or spec.sampling_window != int(spec.sampling_window):
        yield Finding(("samplingWindow",), f"found {spec.sampling_window:g}s", "whole seconds")
    yield from _statuses(("failureStatuses",), spec.failure_statuses)


def _statuses(path: tuple[str, ...], texts: tuple[str, ...]) -> Iterator[Finding]:
    for index, text in enumerate(texts):
        low, _, high = text.partition("-")
        if not _STATUSES.fullmatch(text) or (high and high < low):
            yield Finding((*path, index), f"found '{text}'", _EXPECTED)


RULES: Mapping[type, tuple[Rule, ...]] = {
    HealthCheckPolicySpec: (targets,),
    FallbackPolicySpec: (targets, fallbacks),
    EjectionPolicySpec: (targets, ejection),
    OverloadPolicySpec: (targets, overload),
    HttpHealthCheck: (http_check,),
    TcpHealthCheck: (tcp_check,),
    AdaptiveConcurrency: (concurrency,),
    AdmissionControl: (admission,),
}
