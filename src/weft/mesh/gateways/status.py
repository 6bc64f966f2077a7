"""The status of a Gateway's listeners in the Gateway API's words: which are in force, why not, and what is attached.

https://gateway-api.sigs.k8s.io/reference/spec/#listenerstatus
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weft.mesh.gateways.gateway import Gateways
from weft.mesh.routes.acceptance import Condition
from weft.mesh.routes.status import conditions_mapping
from weft.model.document import ObjectKey
from weft.model.problem import Problem
from weft.schema.kinds.gateway import GatewaySpec

_REFUSALS = {"unsupported-protocol": "UnsupportedProtocol", "protocol-conflict": "ProtocolConflict"}
"""Why a listener is not accepted, by the code of the Problem."""
_REFERENCES = {
    "unknown-secret": "InvalidCertificateRef",
    "bad-certificate": "InvalidCertificateRef",
    "no-certificate": "InvalidCertificateRef",
    "reference-not-granted": "RefNotPermitted",
    "invalid-route-kind": "InvalidRouteKinds",
}
"""Why what a listener refers to is not resolved, by the code of the Problem."""
_PROGRAMMED = Condition("Programmed", True, "Programmed")


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener: how many routes are attached, and its conditions (Programmed: it is in force)."""

    name: str
    attached: int
    conditions: tuple[Condition, ...]


def listener_statuses(
    key: ObjectKey, spec: GatewaySpec, gateways: Gateways, problems: Sequence[Problem]
) -> tuple[ListenerStatus, ...]:
    """The listeners of a Gateway in the order of the document; none for a Gateway of another controller. `problems` are
    those of the Gateway."""
    name = f"{key.namespace}/{key.name}"
    model = gateways.by_name.get(name)
    if model is None:
        return ()
    standing = {listener.name for listener in model.listeners}
    found: list[ListenerStatus] = []
    for index, listener in enumerate(spec.listeners):
        path = ("spec", "listeners", index)
        wrong = [each for each in problems if each.path[:3] == path]
        attached = gateways.attached[name].get(listener.name, 0)
        found.append(ListenerStatus(listener.name, attached, _conditions(listener.name in standing, wrong)))
    return tuple(found)


def _conditions(stands: bool, problems: Sequence[Problem]) -> tuple[Condition, ...]:
    accepted = Condition("Accepted", True, "Accepted")
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    conflicted = Condition("Conflicted", False, "NoConflicts")
    for problem in problems:
        if problem.code in _REFUSALS:
            accepted = Condition("Accepted", False, _REFUSALS[problem.code], problem.message)
        if problem.code == "protocol-conflict":
            conflicted = Condition("Conflicted", True, _REFUSALS[problem.code], problem.message)
        if problem.code in _REFERENCES:
            resolved = Condition("ResolvedRefs", False, _REFERENCES[problem.code], problem.message)
    programmed = _PROGRAMMED if stands else Condition("Programmed", False, "Invalid")
    return accepted, conflicted, programmed, resolved


def gateway_conditions(listeners: Sequence[ListenerStatus], *, served: bool) -> tuple[Condition, ...]:
    """The conditions of a Gateway of ours. `served`: a process serves it."""
    refused = [each.name for each in listeners if not _holds(each, "Accepted")]
    standing = [each.name for each in listeners if _holds(each, "Programmed")]
    message = f"not accepted: {', '.join(refused)}" if refused else ""
    reason = "ListenersNotValid" if refused else "Accepted"
    accepted = Condition("Accepted", len(refused) < len(listeners), reason, message)
    if not standing:
        return accepted, Condition("Programmed", False, "Invalid", "no listener is in force")
    unserved = Condition("Programmed", False, "NoResources", "no process serves it")
    return accepted, _PROGRAMMED if served else unserved


def _holds(listener: ListenerStatus, kind: str) -> bool:
    return all(condition.status for condition in listener.conditions if condition.type == kind)


def listeners_mapping(statuses: Iterable[ListenerStatus]) -> list[dict[str, object]]:
    """``status.listeners`` of a Gateway."""
    return [
        {"name": each.name, "attachedRoutes": each.attached, "conditions": conditions_mapping(each.conditions)}
        for each in statuses
    ]
