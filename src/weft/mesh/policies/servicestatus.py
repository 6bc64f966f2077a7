"""The status of a policy for Services, as policy attachment has it: whether it is in force for each of its targets.

https://gateway-api.sigs.k8s.io/reference/spec/#policystatus
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.policies.servicepolicies import PolicyDocument, ServicePolicies
from weft.mesh.routes.acceptance import Condition
from weft.mesh.routes.status import conditions_mapping
from weft.mesh.services.hosts import service_host
from weft.model.problem import Problem, Severity
from weft.schema.kinds.fallbackpolicy import FallbackPolicySpec
from weft.schema.kinds.gateway import CONTROLLER_NAME

_REASONS = {"unknown-service": "BackendNotFound", "reference-not-granted": "RefNotPermitted"}


def ancestors_mapping(
    document: PolicyDocument, policies: ServicePolicies, problems: Iterable[Problem]
) -> list[dict[str, object]]:
    """``status.ancestors``, in the order of the targets. `problems` are those of this document."""
    found = tuple(problems)
    shared = _resolved(found) if isinstance(document.spec, FallbackPolicySpec) else ()
    return [
        {
            "ancestorRef": _reference(document, index),
            "controllerName": CONTROLLER_NAME,
            "conditions": conditions_mapping((_accepted(document, index, policies, found), *shared)),
        }
        for index in range(len(document.spec.target_refs))
    ]


def _reference(document: PolicyDocument, index: int) -> dict[str, object]:
    target = document.spec.target_refs[index]
    named = {"group": "", "kind": "Service", "namespace": document.key.namespace, "name": target.name}
    return named | ({"sectionName": target.section_name} if target.section_name else {})


def _accepted(
    document: PolicyDocument, index: int, policies: ServicePolicies, problems: tuple[Problem, ...]
) -> Condition:
    target = document.spec.target_refs[index]
    absent = next((one for one in problems if one.path[:3] == ("spec", "targetRefs", index)), None)
    if absent is not None:
        return Condition("Accepted", status=False, reason="TargetNotFound", message=absent.message)
    attached = policies.by_host.get(service_host(target.name, document.key.namespace))
    mine = (document, target.section_name or "")
    if attached is None or not any((each.document, each.section) == mine for each in attached.every):
        shut_out = next((one.message for one in problems if one.code == "policy-conflict"), "")
        return Condition("Accepted", status=False, reason="Conflicted", message=shut_out)
    return Condition("Accepted", status=True, reason="Accepted")


def _resolved(problems: tuple[Problem, ...]) -> tuple[Condition, ...]:
    """Whether all fallbacks can stand in."""
    for problem in problems:
        if problem.severity is Severity.ERROR and problem.path[:2] == ("spec", "fallbackRefs"):
            reason = _REASONS.get(problem.code, "InvalidKind" if problem.code == "no-fallback" else "BackendNotFound")
            return (Condition("ResolvedRefs", status=False, reason=reason, message=problem.message),)
    return (Condition("ResolvedRefs", status=True, reason="ResolvedRefs"),)
