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

_CERTIFICATES = {
    "unknown-secret": "InvalidCertificateRef",
    "bad-certificate": "InvalidCertificateRef",
    "reference-not-granted": "RefNotPermitted",
}


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


def _conditions(stands: bool, problems: Iterable[Problem]) -> tuple[Condition, ...]:
    programmed = Condition("Programmed", stands, "Programmed" if stands else "Invalid")
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    for problem in problems:
        if problem.code in _CERTIFICATES:
            resolved = Condition("ResolvedRefs", False, _CERTIFICATES[problem.code], problem.message)
    return programmed, resolved


def listeners_mapping(statuses: Iterable[ListenerStatus]) -> list[dict[str, object]]:
    """``status.listeners`` of a Gateway."""
    return [
        {"name": each.name, "attachedRoutes": each.attached, "conditions": conditions_mapping(each.conditions)}
        for each in statuses
    ]
