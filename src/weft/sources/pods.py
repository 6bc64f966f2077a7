"""Which Pods a snapshot has: those whose name no agent holds, and in which trust has not ended. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from weft.model.distrust import Distrust, Distrusted, Ended, distrusted_from
from weft.model.document import Document, ObjectKey
from weft.model.gateway_process import GATEWAY_CLASS
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.snapshot import workload_order
from weft.model.workload import Workload
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewaySpec


@dataclass(frozen=True, slots=True)
class Admitted:
    """The workloads of a snapshot, sorted; the Pods that are left out, by the name of their proxy; and what to say of
    those."""

    workloads: tuple[Workload, ...] = ()
    left_out: dict[str, Workload] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def admitted(
    groups: Sequence[tuple[Workload, ...]],
    distrusted: tuple[Distrust, ...],
    documents: Sequence[Document[object]] = (),
) -> Admitted:
    """What sources tell, put together. A name that both an agent and the API server tell of is the agent's for as long
    as its registration lasts, as that of any newcomer would be. A Pod whose registration was removed or revoked has
    none to delete, so that it is left out here, until it registers anew. `documents` are sorted by key."""
    ends = distrusted_from(distrusted)
    if len(groups) == 1 and not (distrusted and any(each.pod for each in groups[0])):
        workloads, wrong = with_own_gateways(groups[0], documents)
        return Admitted(workloads, {}, wrong)
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
    workloads, wrong = with_own_gateways(tuple(sorted(found, key=workload_order)), documents)
    return Admitted(workloads, left_out, (*problems, *wrong))


def with_own_gateways(
    workloads: tuple[Workload, ...], documents: Sequence[Document[object]]
) -> tuple[tuple[Workload, ...], tuple[Problem, ...]]:
    """The `workloads`, but that a Pod which says to be the process of a Gateway of another class than the document has
    is none: its service account is called after the class, and another one is not given the Gateway's secrets.
    `documents` are sorted by key."""
    found: list[Workload] = []
    problems = []
    for each in workloads:
        if each.pod and each.gateway is not None and not _is_of_class(each, each.gateway.gateway, documents):
            problems.append(_no_gateway(each, each.gateway.gateway))
            found.append(replace(each, gateway=None))
        else:
            found.append(each)
    return (tuple(found), tuple(problems)) if problems else (workloads, ())


def _is_of_class(pod: Workload, gateway: str, documents: Sequence[Document[object]]) -> bool:
    key = ObjectKey(GATEWAY_GROUP, "Gateway", pod.namespace, gateway)
    index = bisect_left(documents, key, key=lambda document: document.key)
    document = documents[index] if index < len(documents) and documents[index].key == key else None
    if document is None or not isinstance(document.spec, GatewaySpec):
        return True  # nothing is served of it
    return document.spec.gateway_class_name == dict(pod.labels).get(GATEWAY_CLASS)


def _no_gateway(pod: Workload, gateway: str) -> Problem:
    text = f"its labels say that it is the process of Gateway {pod.namespace}/{gateway}, which is of another class"
    origin = Origin(f"kubernetes:Pod/{pod.namespace}/{pod.name}/{pod.pod}")
    expected = f"the class of the Gateway in {GATEWAY_CLASS}, and the service account that is called after both"
    return Problem(Severity.ERROR, "pod-unusable", text, origin, expected=expected)


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
