"""The verdict of the injecting webhook about a pod."""

from __future__ import annotations

from weft.inject.decision import Namespace
from weft.inject.patch import json_patch
from weft.inject.pod import Injected, inject_pod
from weft.inject.review import Verdict
from weft.inject.settings import InjectionSettings
from weft.model.origin import path_text
from weft.model.problem import Problem, Severity


def verdict_of(pod: dict[str, object], injected: Injected) -> Verdict:
    """What the API server is told of `pod` when injection came to `injected`."""
    errors = [_said(each) for each in injected.problems if each.severity == Severity.ERROR]
    warnings = tuple(f"weft: {_said(each)}" for each in injected.problems if each.severity != Severity.ERROR)
    if errors:
        return Verdict(False, f"weft cannot inject the pod: {'; '.join(errors)}", warnings=warnings)
    patch = json_patch(pod, injected.pod) if injected.pod is not None else ()
    return Verdict(warnings=warnings, patch=patch)


def admit(pod: dict[str, object], namespace: Namespace, settings: InjectionSettings) -> tuple[Injected, Verdict]:
    """`pod`, which is about to be made, injected; and the verdict."""
    injected = inject_pod(pod, namespace, settings)
    return injected, verdict_of(pod, injected)


def _said(problem: Problem) -> str:
    text = f"{path_text(problem.path)}: {problem.message}" if problem.path else problem.message
    text += f"; expected {problem.expected}" if problem.expected else ""
    return text + (f"; did you mean '{problem.nearest}'?" if problem.nearest else "")
