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
from weft.model.origin import FieldPath
from weft.model.problem import Problem

_REFUSALS = {
    "unsupported-protocol": "UnsupportedProtocol",
    "protocol-conflict": "ProtocolConflict",
    "server-conflict": "HostnameConflict",
    "bind-not-served": "PortUnavailable",
    "no-client-authority": "NoValidCACertificate",
}
"""Why a listener is not accepted, by the code of the Problem."""
_REFERENCES = {
    "unknown-secret": "InvalidCertificateRef",
    "bad-certificate": "InvalidCertificateRef",
    "no-certificate": "InvalidCertificateRef",
    "reference-not-granted": "RefNotPermitted",
    "invalid-route-kind": "InvalidRouteKinds",
    "no-client-authority": "InvalidCACertificateRef",
    "kubernetes-refused": "InvalidCertificateRef",
}
"""Why what a listener refers to is not resolved, by the code of the Problem."""
_SETS = {"listeners-not-allowed": "NotAllowed", "unknown-gateway": "ParentNotAccepted"}
"""Why a ListenerSet is not accepted, by the code of the Problem."""
_CLIENT: FieldPath = ("spec", "tls", "backend")
_PROGRAMMED = Condition("Programmed", True, "Programmed")


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener: how many routes are attached, and its conditions (Programmed: it is in force)."""

    name: str
    attached: int
    conditions: tuple[Condition, ...]


def listener_statuses(key: ObjectKey, gateways: Gateways, problems: Sequence[Problem]) -> tuple[ListenerStatus, ...]:
    """The listeners of a Gateway of either API (Istio's servers), in the order of the document; none for a Gateway of
    another controller. `problems` are those of the Gateway."""
    declared = gateways.declared.get(key)
    if declared is None:
        return ()
    models = [model for model in gateways.by_name.values() if key in model.keys]
    standing = {each.name for model in models for each in model.listeners if each.object == key and not each.closed}
    field = "listeners" if declared.selector is None else "servers"
    found: list[ListenerStatus] = []
    for index, name in enumerate(declared.written):
        wrong = [each for each in problems if each.path[:3] == ("spec", field, index)]
        attached = gateways.attached[key].get(name, 0)
        found.append(ListenerStatus(name, attached, _conditions(name in standing, wrong)))
    return tuple(found)


def attached_sets(key: ObjectKey, gateways: Gateways) -> int:
    """How many ListenerSets a Gateway of the Gateway API has taken."""
    declared = gateways.declared.get(key)
    if declared is None or declared.selector is not None or declared.parent:
        return 0
    model = gateways.by_name.get(declared.name)
    return sum(each.kind == "ListenerSet" for each in model.keys) if model is not None else 0


def _conditions(stands: bool, problems: Sequence[Problem]) -> tuple[Condition, ...]:
    accepted = Condition("Accepted", True, "Accepted")
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    conflicted = Condition("Conflicted", False, "NoConflicts")
    for problem in problems:
        if problem.code in _REFUSALS:
            accepted = Condition("Accepted", False, _REFUSALS[problem.code], problem.message)
        if problem.code in ("protocol-conflict", "server-conflict"):
            conflicted = Condition("Conflicted", True, _REFUSALS[problem.code], problem.message)
        if problem.code in _REFERENCES:
            resolved = Condition("ResolvedRefs", False, _REFERENCES[problem.code], problem.message)
    programmed = _PROGRAMMED if stands else Condition("Programmed", False, "Invalid")
    return accepted, conflicted, programmed, resolved


def gateway_conditions(
    listeners: Sequence[ListenerStatus], *, served: bool, problems: Sequence[Problem] = ()
) -> tuple[Condition, ...]:
    """The conditions of a Gateway of ours, or of a ListenerSet. `served`: a process serves it. `problems` are those of
    the document."""
    for problem in problems:
        if problem.code in _SETS:
            refused = Condition("Accepted", False, _SETS[problem.code], problem.message)
            return refused, Condition("Programmed", False, "Invalid", "no listener is in force")
    bad = next((each for each in problems if each.path[:3] == _CLIENT), None)
    found = _accepted_and_programmed(listeners, served=served)
    if bad is None:
        return found
    reason = "RefNotPermitted" if bad.code == "reference-not-granted" else "InvalidClientCertificateRef"
    return (*found, Condition("ResolvedRefs", False, reason, bad.message))


def _accepted_and_programmed(listeners: Sequence[ListenerStatus], *, served: bool) -> tuple[Condition, ...]:
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
