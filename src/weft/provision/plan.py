"""Plans: what a process for each Gateway document of a cluster has to be like, from the Mesh.

https://gateway-api.sigs.k8s.io/geps/gep-1762/ says how such objects are named and labelled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from weft.mesh.gateways.declared import DeclaredGateway
from weft.mesh.gateways.gateway import Gateways
from weft.mesh.gateways.listeners import Listener
from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.gateway_process import process_name
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.annotations import SERVICE_TYPE, SERVICE_TYPES
from weft.schema.kinds.gateway import CONTROLLER_NAME, GatewayClassSpec

_SOURCE = "kubernetes:Gateway/"


class _Parameters(msgspec.Struct):
    group: str = ""
    kind: str = ""
    name: str = ""


class _Infrastructure(msgspec.Struct, rename="camel"):
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    parameters_ref: _Parameters | None = None


class _Spec(msgspec.Struct):
    infrastructure: _Infrastructure | None = None


class _Text(msgspec.Struct):
    """What of a Gateway is about its process."""

    spec: _Spec = msgspec.field(default_factory=_Spec)


@dataclass(frozen=True, slots=True, order=True)
class PlannedPort:
    """A port that clients reach. `application` is what the mesh calls what is spoken there (a Service's appProtocol);
    `transport` is TCP or UDP."""

    number: int
    transport: str
    application: str

    @property
    def name(self) -> str:
        """Its name in the Service."""
        return f"{self.application}-{self.number}"


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """A process for a Gateway, and what leads to it. `uid` is the document's, which owns all of it. `labels` and
    `annotations` are those that its `infrastructure` asks for, on everything. `service_type` is what it asks for its
    Service (empty: what is usual)."""

    key: ObjectKey
    uid: str
    gateway_class: str
    ports: tuple[PlannedPort, ...]
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    service_type: str = ""

    @property
    def name(self) -> str:
        """How its objects are called."""
        return process_name(self.key.name, self.gateway_class)


@dataclass(frozen=True, slots=True)
class Plans:
    """The plan of each Gateway, and why others have none."""

    plans: tuple[GatewayPlan, ...] = ()
    problems: tuple[Problem, ...] = ()


def own_classes(documents: Iterable[Document[object]]) -> frozenset[str]:
    """The GatewayClasses that name weft's controller. A name alone, such as `istio`, may be another controller's."""
    return frozenset([
        each.key.name
        for each in documents
        if isinstance(each.spec, GatewayClassSpec) and each.spec.controller_name == CONTROLLER_NAME
    ])  # fmt: skip


def plans_of(gateways: Gateways, classes: Collection[str]) -> Plans:
    """Plans for the Gateways of these `classes` that the API server has and that listen anywhere."""
    plans, problems = [], []
    for declared in gateways.declared.values():
        if declared.gateway_class not in classes or declared.parent or not _uid(declared):
            continue
        found = _plan(declared, gateways)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.ports:
            plans.append(found)
    return Plans(tuple(sorted(plans, key=lambda each: each.key)), tuple(problems))


def _plan(declared: DeclaredGateway, gateways: Gateways) -> GatewayPlan | Problem:
    document = declared.document
    asked = msgspec.json.decode(document.text, type=_Text).spec.infrastructure or _Infrastructure()
    if asked.parameters_ref is not None:
        message = f"weft has no parameters for a Gateway's process; found {asked.parameters_ref.kind}"
        where: FieldPath = ("spec", "infrastructure", "parametersRef")
        return problem_at(document, where, "invalid-parameters", message, "labels and annotations")
    service_type = asked.annotations.get(SERVICE_TYPE) or dict(document.annotations).get(SERVICE_TYPE, "")
    if service_type not in ("", *SERVICE_TYPES):
        message = f"found '{service_type}' as the type of the Gateway's Service"
        where = ("spec", "infrastructure", "annotations", SERVICE_TYPE)
        return problem_at(document, where, "invalid-parameters", message, " or ".join(SERVICE_TYPES))
    model = gateways.by_name.get(declared.name)
    listeners = model.listeners if model is not None else declared.listeners
    return GatewayPlan(
        key=declared.key,
        uid=_uid(declared),
        gateway_class=declared.gateway_class,
        ports=_ports(listeners),
        labels=tuple(sorted(asked.labels.items())),
        annotations=tuple(sorted(asked.annotations.items())),
        service_type=service_type,
    )


def _ports(listeners: Iterable[Listener]) -> tuple[PlannedPort, ...]:
    """Each port once: of listeners that share one the first says what is spoken."""
    found: dict[tuple[int, str], PlannedPort] = {}
    for each in listeners:
        transport = "UDP" if each.datagrams else "TCP"
        application = each.protocol.lower()
        found.setdefault((each.port, transport), PlannedPort(each.port, transport, application))
        if each.http3:
            found.setdefault((each.port, "UDP"), PlannedPort(each.port, "UDP", "http3"))
    return tuple(sorted(found.values()))


def _uid(declared: DeclaredGateway) -> str:
    """The uid of a Gateway document of the API server; empty for others."""
    source = declared.document.origin.source
    if not source.startswith(_SOURCE):
        return ""
    return source.rpartition("@")[0].rpartition("/")[2]
