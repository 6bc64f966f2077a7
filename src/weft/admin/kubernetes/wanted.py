"""Wanted: the status that each object of a cluster should have, from what the mesh says of its document. No I/O.

There is no second checker: conditions are those that the admin API shows (`weft.admin.acceptance`). Only two things are
added, what the proxies of a Gateway have confirmed, and what the API asks for besides: generations, features, kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from weft.admin.acceptance import Acceptance
from weft.admin.context import Compiled
from weft.admin.kubernetes.features import FEATURES
from weft.admin.kubernetes.wording import reason_of, words
from weft.mesh.gateways.gateway_api import route_kinds_of
from weft.mesh.gateways.infrastructure import INVALID_PARAMETERS
from weft.mesh.gateways.status import NOT_USABLE
from weft.mesh.routes.acceptance import ParentStatus, RouteStatus
from weft.mesh.routes.status import conditions_mapping
from weft.model.addresses import is_ip_address
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem, Severity
from weft.schema.kinds.gateway import (
    CONTROLLER_NAME,
    GATEWAY_GROUP,
    GatewayClassSpec,
    GatewaySpec,
    ListenerSetSpec,
)
from weft.sources.kubernetes.statuses import ISTIO_GROUPS, Status

_LONGEST_MESSAGE = 2048
_OF_THE_CLUSTER = frozenset(("kubernetes-refused", INVALID_PARAMETERS, NOT_USABLE))
"""Codes of problems that are found out beside the mesh."""
_ROUTES = frozenset(("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"))


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """What keeps a Gateway from being programmed: `refused` by a proxy, in its words, or not confirmed yet."""

    reason: str
    message: str
    refused: bool = False


class Wanted:
    """For one compiled mesh. `unconfirmed` says what proxies have not confirmed of a Gateway that they serve (None:
    nothing), `addresses` where these listen (None: that is being found out, and what was said of it stays)."""

    def __init__(
        self,
        compiled: Compiled,
        problems: Iterable[Problem],
        unconfirmed: Callable[[Document[object]], Unconfirmed | None] = lambda _: None,
        addresses: Callable[[Document[object]], tuple[str, ...] | None] = lambda _: (),
    ) -> None:
        problems = tuple(problems)
        self._acceptance = Acceptance(compiled.mesh, [each for each in problems if each.code in _OF_THE_CLUSTER])
        self._routes: Mapping[ObjectKey, RouteStatus] = (
            {each.route: each for each in compiled.mesh.acceptance} if compiled.mesh is not None else {}
        )
        self._declared: Container[ObjectKey] = compiled.mesh.gateways.declared if compiled.mesh is not None else ()
        self._errors: dict[ObjectKey | None, tuple[Problem, ...]] = {}
        for problem in problems:
            if problem.severity is Severity.ERROR:
                self._errors[problem.object] = (*self._errors.get(problem.object, ()), problem)
        self._unconfirmed = unconfirmed
        self._addresses = addresses

    def source(self, document: Document[object]) -> tuple[object, ...] | None:
        """What the status is made of: the same objects make the same status. None: look each time."""
        if document.key.group in ISTIO_GROUPS:
            return (document, *self._errors.get(document.key, ()))
        if document.key.group == GATEWAY_GROUP and document.key.kind in _ROUTES:
            return (document, self._routes.get(document.key))
        return None

    def of(self, document: Document[object], generation: int = 0) -> Status | None:
        """The status, without times. None: weft has nothing to say of it. `generation` is the object's now, if it may
        be another than the one in force."""
        key, spec = document.key, document.spec
        if key.group in ISTIO_GROUPS:
            return self._reconciled(document, generation)
        if key.group == GATEWAY_GROUP and key.kind in _ROUTES:
            status = self._routes.get(key)
            parents = status.parents if status is not None else ()
            return {"parents": [_parent(document, each) for each in parents if self._is_ours(each.parent)]}
        if isinstance(spec, GatewayClassSpec):
            unfit = next((each for each in self._errors.get(key, ()) if each.code == INVALID_PARAMETERS), None)
            return _class_status(document, spec, unfit)
        said = self._acceptance.of(document)
        if not said or (isinstance(spec, ListenerSetSpec) and not self._is_ours(_gateway_of(document, spec))):
            return None
        if isinstance(spec, GatewaySpec | ListenerSetSpec):
            return self._gateway(document, spec, said)
        entries = cast("list[dict[str, Any]]", said.get("ancestors", []))
        return {"ancestors": [_observed(each, document) for each in entries]}

    def _is_ours(self, parent: ObjectKey) -> bool:
        """Whether weft speaks for a parent. A Gateway that is not there may be meant for anybody."""
        return parent.group != GATEWAY_GROUP or parent in self._declared

    def _gateway(
        self, document: Document[object], spec: GatewaySpec | ListenerSetSpec, said: Mapping[str, object]
    ) -> Status | None:
        unconfirmed = self._unconfirmed(document)
        listeners = cast("list[dict[str, Any]]", said["listeners"])
        kinds = {each.name: route_kinds_of(each) for each in spec.listeners}
        found = [_observed(each | {"supportedKinds": _kinds(kinds[each["name"]])}, document) for each in listeners]
        status = _observed(said, document) | {"listeners": found}
        addresses = self._addresses(document)
        if addresses is None:
            return None
        if addresses and isinstance(spec, GatewaySpec):
            status["addresses"] = [{"type": _address_type(each), "value": each} for each in addresses]
        if unconfirmed is not None:
            for each in (status, *found):
                each["conditions"] = [_held_back(one, unconfirmed) for one in each["conditions"]]
        return status

    def _reconciled(self, document: Document[object], generation: int) -> Status:
        errors = self._errors.get(document.key, ())
        condition = {
            "type": "Reconciled",
            "status": "False" if errors else "True",
            "reason": reason_of(errors[0].code) if errors else "Reconciled",
            "message": "; ".join(words(each) for each in errors)[:_LONGEST_MESSAGE],
        }
        seen = max(generation, document.generation) if errors else document.generation
        return {"conditions": [condition | {"observedGeneration": seen}]}


def _address_type(text: str) -> str:
    return "IPAddress" if is_ip_address(text) else "Hostname"


def _gateway_of(document: Document[object], spec: ListenerSetSpec) -> ObjectKey:
    named = spec.parent_ref
    return ObjectKey(GATEWAY_GROUP, "Gateway", named.namespace or document.key.namespace, named.name)


def _class_status(document: Document[object], spec: GatewayClassSpec, unfit: Problem | None) -> Status | None:
    if spec.controller_name != CONTROLLER_NAME:
        return None
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    if unfit is not None:
        accepted |= {"status": "False", "reason": "InvalidParameters", "message": words(unfit)}
    features = [{"name": name} for name in FEATURES]
    return _observed({"conditions": [accepted]}, document) | {"supportedFeatures": features}


def _parent(document: Document[object], parent: ParentStatus) -> dict[str, Any]:
    """An entry of ``status.parents``, about the reference as the route has it."""
    written = getattr(document.spec, "parent_refs")[cast("int", parent.path[2])]  # noqa: B009
    optional = {"namespace": written.namespace, "sectionName": written.section_name, "port": written.port}
    reference = {"group": written.group, "kind": written.kind, "name": written.name}
    reference |= {name: value for name, value in optional.items() if value is not None}
    said = {"conditions": conditions_mapping(parent.conditions)}
    return {"parentRef": reference, "controllerName": CONTROLLER_NAME, **_observed(said, document)}


def _observed(said: Mapping[str, Any], document: Document[object]) -> dict[str, Any]:
    """What is said, with the generation that it is about."""
    conditions = [
        {**each, "message": each["message"][:_LONGEST_MESSAGE], "observedGeneration": document.generation}
        for each in said["conditions"]
    ]
    return {**said, "conditions": conditions}


def _kinds(names: Iterable[str]) -> list[dict[str, str]]:
    return [{"group": GATEWAY_GROUP, "kind": name} for name in names]


def _held_back(condition: Mapping[str, Any], unconfirmed: Unconfirmed) -> Mapping[str, Any]:
    if condition["type"] != "Programmed" or condition["status"] != "True":
        return condition
    why = {"status": "False", "reason": unconfirmed.reason, "message": unconfirmed.message[:_LONGEST_MESSAGE]}
    return {**condition, **why}
