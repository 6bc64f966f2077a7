"""Which Pods a snapshot has: those whose name no agent holds, and in which trust has not ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from weft.model.distrust import Distrust, Distrusted, Ended, distrusted_from
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.snapshot import workload_order
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Admitted:
    """The workloads of a snapshot, sorted; the Pods that are left out, by the name of their proxy; and what to say of
    those."""

    workloads: tuple[Workload, ...] = ()
    left_out: dict[str, Workload] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def admitted(groups: Sequence[tuple[Workload, ...]], distrusted: tuple[Distrust, ...]) -> Admitted:
    """What sources tell, put together. A name that both an agent and the API server tell of is the agent's for as long
    as its registration lasts, as that of any newcomer would be. A Pod whose registration was removed or revoked has
    none to delete, so that it is left out here, until it registers anew."""
    ends = distrusted_from(distrusted)
    if len(groups) == 1 and not (distrusted and any(each.pod for each in groups[0])):
        return Admitted(groups[0])
    every = [each for group in groups for each in group]
    taken = {workload_order(each) for each in every if not each.pod} if len(groups) > 1 else set()
    found, left_out, problems = [], {}, []
    for each in every:
        held = bool(each.pod) and workload_order(each) in taken
        if held:
            problems.append(_taken(each))
        if held or (each.pod and _ended(each, ends)):
            left_out[each.proxy] = each
        else:
            found.append(each)
    return Admitted(tuple(sorted(found, key=workload_order)), left_out, tuple(problems))


def _ended(pod: Workload, ends: Distrusted) -> bool:
    found: Iterable[Distrust] = ends.about(pod.namespace, pod.name, pod.service_account)
    return any(one.ended is not Ended.RESTORED for one in found)


def _taken(pod: Workload) -> Problem:
    text = (
        f"an agent has registered a workload of the name of Pod {pod.namespace}/{pod.name}, which is not in the mesh "
        "for as long as that one is"
    )
    expected = "another name: stop that workload's agent, or name the Pod otherwise"
    origin = Origin(f"kubernetes:Pod/{pod.namespace}/{pod.name}/{pod.pod}")
    return Problem(Severity.ERROR, "pod-name-taken", text, origin, expected=expected)
