"""How the Gateway API writes acceptance down: ``status.parents`` of a route, in plain values."""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.routes.acceptance import Condition, ParentStatus, RouteStatus
from weft.schema.kinds.gateway import CONTROLLER_NAME


def parents_mapping(route: RouteStatus) -> list[dict[str, object]]:
    """``status.parents`` of a route: https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus"""
    return [
        {
            "parentRef": _reference(parent),
            "controllerName": CONTROLLER_NAME,
            "conditions": conditions_mapping(parent.conditions),
        }
        for parent in route.parents
    ]


def conditions_mapping(conditions: Iterable[Condition]) -> list[dict[str, object]]:
    """Conditions as the API has them, but for times and generations."""
    return [
        {"type": each.type, "status": str(each.status), "reason": each.reason, "message": each.message}
        for each in conditions
    ]


def _reference(parent: ParentStatus) -> dict[str, object]:
    key = parent.parent
    named = {"group": key.group, "kind": key.kind, "namespace": key.namespace, "name": key.name}
    found: dict[str, object] = {name: value for name, value in named.items() if value or name == "group"}
    if parent.section:
        found["sectionName"] = parent.section
    if parent.port:
        found["port"] = parent.port
    return found
