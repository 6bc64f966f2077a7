"""Statuses: which part of an object's status is weft's, whether it says what weft would, and joining both. Pure.

Others write to the same objects: routes and policies have one entry for each controller in lists that server-side apply
takes as a whole (`parents`, `ancestors`), and conditions of types that are not weft's stay.
https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from weft.schema.kinds.gateway import CONTROLLER_NAME, GATEWAY_GROUP
from weft.schema.registry import Kind

Status = Mapping[str, Any]
TYPES = frozenset(
    (
        "Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", "Reconciled",
        "InsecureFrontendValidationMode",
    )
)  # fmt: skip
"""Types of conditions that are weft's."""
ISTIO_GROUPS = frozenset(("networking.istio.io", "security.istio.io", "telemetry.istio.io"))
_ROUTES = frozenset(("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"))
_WITH_CONDITIONS = frozenset(("GatewayClass", "Gateway", "ListenerSet"))
_POLICIES = frozenset(
    (
        "BackendTLSPolicy", "XBackendTrafficPolicy",
        "HealthCheckPolicy", "FallbackPolicy", "EjectionPolicy", "OverloadPolicy",
    )
)  # fmt: skip
_MANY = "WorkloadEntry"
"""There may be one for each instance, and machines write them."""
_TIME = "lastTransitionTime"


class Shape(enum.Enum):
    """How the status of a kind is divided among those who write it."""

    CONDITIONS = ("conditions", "conditions", 8)
    """One writer, but for conditions of other types."""
    PARENTS = ("parents", "parentRef", 32)
    ANCESTORS = ("ancestors", "ancestorRef", 16)
    """An entry for each thing that the object is attached to and each controller."""

    @property
    def entries(self) -> str:
        """The list of entries."""
        return self.value[0]

    @property
    def reference(self) -> str:
        """What an entry is about."""
        return self.value[1]

    @property
    def most(self) -> int:
        """How many entries the list may have."""
        return self.value[2]


def shape_of(kind: Kind) -> Shape | None:
    """How weft writes the status of a kind; None: it does not."""
    if kind.group == GATEWAY_GROUP and kind.name in _ROUTES:
        return Shape.PARENTS
    if kind.group == GATEWAY_GROUP and kind.name in _WITH_CONDITIONS:
        return Shape.CONDITIONS
    if kind.name in _POLICIES:
        return Shape.ANCESTORS
    return Shape.CONDITIONS if kind.group in ISTIO_GROUPS and kind.name != _MANY else None


def own_part(shape: Shape, status: Status) -> dict[str, Any]:
    """What of a status is weft's, without times."""
    if shape is Shape.CONDITIONS:
        return {
            "conditions": _conditions(status),
            "listeners": sorted(
                ({**each, "conditions": _conditions(each)} for each in _listed(status, "listeners")),
                key=lambda each: str(each.get("name")),
            ),
            "addresses": _listed(status, "addresses"),
            "attachedListenerSets": status.get("attachedListenerSets") or 0,
            "supportedFeatures": sorted(str(each.get("name")) for each in _listed(status, "supportedFeatures")),
        }
    return {
        shape.entries: [
            {**each, "conditions": _conditions(each)} for each in _listed(status, shape.entries) if _is_ours(each)
        ]
    }


def digest_of(shape: Shape, status: Status) -> bytes:
    """What two statuses have in common exactly if they say the same of what is weft's, whenever they said it."""
    text = msgspec.json.encode(own_part(shape, status), order="deterministic")
    return hashlib.blake2b(text, digest_size=12).digest()


def joined(shape: Shape, now: Status, wanted: Status, moment: str) -> dict[str, Any]:
    """The status to apply: `wanted`, beside what others wrote in `now` where a list is one for all. A condition has the
    time of its last change, which is `moment` (RFC 3339) only if its status was another one before."""
    if shape is Shape.CONDITIONS:
        found = {**wanted, "conditions": _timed(wanted, now, moment)}
        if "listeners" in wanted:
            before = {each.get("name"): each for each in _listed(now, "listeners")}
            found["listeners"] = [
                {**each, "conditions": _timed(each, before.get(each["name"], {}), moment)}
                for each in wanted["listeners"]
            ]
        return found
    entries = _listed(now, shape.entries)
    before = {_reference(shape, each): each for each in entries if _is_ours(each)}
    ours = [
        {**each, "conditions": _timed(each, before.get(_reference(shape, each), {}), moment)}
        for each in wanted.get(shape.entries, ())
    ]
    others = [each for each in entries if not _is_ours(each)]
    return {shape.entries: [*others, *ours[: max(0, shape.most - len(others))]]}


def _is_ours(entry: Status) -> bool:
    return entry.get("controllerName") == CONTROLLER_NAME


def _reference(shape: Shape, entry: Status) -> bytes:
    return msgspec.json.encode(entry.get(shape.reference), order="deterministic")


def _conditions(said: Status) -> list[dict[str, Any]]:
    """The conditions that are weft's, by type, without times."""
    found = [each for each in _listed(said, "conditions") if each.get("type") in TYPES]
    found.sort(key=lambda each: str(each["type"]))
    return [{name: value for name, value in each.items() if name not in (_TIME, "lastProbeTime")} for each in found]


def _timed(wanted: Status, before: Status, moment: str) -> list[dict[str, Any]]:
    known = {each.get("type"): each for each in _listed(before, "conditions")}
    return [{**each, _TIME: _since(each, known.get(each["type"]), moment)} for each in _listed(wanted, "conditions")]


def _since(condition: Status, before: Status | None, moment: str) -> str:
    same = before is not None and before.get("status") == condition["status"]
    return str(before.get(_TIME) or moment) if same and before is not None else moment


def _listed(said: Status, name: str) -> list[dict[str, Any]]:
    """The objects of a list that anybody may have written, in whatever way."""
    found: Iterable[Any] = said.get(name) or ()
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list | tuple) else []
