"""Plans: what a process for each Gateway document of a cluster has to be like, from the Mesh.

https://gateway-api.sigs.k8s.io/geps/gep-1762/ says how such objects are named and labelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from weft.mesh.gateways.addresses import asked_addresses, type_problems
from weft.mesh.gateways.declared import DeclaredGateway
from weft.mesh.gateways.gateway import Gateways
from weft.mesh.gateways.infrastructure import INVALID_PARAMETERS, infrastructure_of
from weft.mesh.gateways.listeners import Listener
from weft.mesh.gateways.status import NOT_USABLE
from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.gateway_process import process_name
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.provision.parameters import NO_PARAMETERS, Parameters, ParametersBook
from weft.schema.annotations import SERVICE_TYPE, SERVICE_TYPES
from weft.schema.kinds.gateway import CONTROLLER_NAME, GatewayClassSpec, GatewaySpec

_SOURCE = "kubernetes:Gateway/"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
OWN_PORTS = frozenset((15020, 15021))
"""Of the agent in each pod: metrics, and whether it is ready."""


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
    Service (empty: what is usual), `address` the IP address at which clients are to reach it (empty: any).
    `parameters` are merged over all of it."""

    key: ObjectKey
    uid: str
    gateway_class: str
    ports: tuple[PlannedPort, ...]
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    service_type: str = ""
    address: str = ""
    parameters: Parameters = NO_PARAMETERS

    @property
    def name(self) -> str:
        """How its objects are called."""
        return process_name(self.key.name, self.gateway_class)


@dataclass(frozen=True, slots=True)
class Plans:
    """The plan of each Gateway, why others have none or another than they ask for, and which Gateways are another
    controller's now. One that is in none of these keeps what it has."""

    plans: tuple[GatewayPlan, ...] = ()
    problems: tuple[Problem, ...] = ()
    left: frozenset[ObjectKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Classes:
    """GatewayClasses by whose they are: those that name weft's controller (a name alone, such as `istio`, may be
    another's), and those that name another."""

    ours: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


def classes_of(documents: Iterable[Document[object]]) -> Classes:
    """The GatewayClasses among `documents`."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for each in documents:
        if isinstance(each.spec, GatewayClassSpec):
            found[each.spec.controller_name == CONTROLLER_NAME].add(each.key.name)
    return Classes(frozenset(found[True]), frozenset(found[False]))


def plans_of(gateways: Gateways, documents: Iterable[Document[object]]) -> Plans:
    """Plans for the Gateways that the API server has, whose class is ours, and that listen anywhere. `documents` are
    those in force."""
    every = tuple(documents)
    classes = classes_of(every)
    parameters = ParametersBook(every)
    plans, problems = [], list(parameters.problems)
    for declared in gateways.declared.values():
        if declared.gateway_class not in classes.ours or declared.parent or not _uid(declared):
            continue
        found, wrong = _plan(declared, gateways, parameters)
        problems += wrong
        if found is not None and found.ports:
            plans.append(found)
    left = frozenset([
        each.key
        for each in every
        if isinstance(each.spec, GatewaySpec) and each.spec.gateway_class_name in classes.others
    ])  # fmt: skip
    return Plans(tuple(sorted(plans, key=lambda each: each.key)), tuple(problems), left)


def _plan(
    declared: DeclaredGateway, gateways: Gateways, parameters: ParametersBook
) -> tuple[GatewayPlan | None, list[Problem]]:
    """None where nothing can be made of it as it is."""
    document = cast("Document[GatewaySpec]", declared.document)
    asked = infrastructure_of(document)
    annotations = asked.annotations or {}
    if not _NAME.fullmatch(declared.key.name):
        message = "no Service, label and proxy can be called as this Gateway"
        expected = "a name of lower-case letters, digits and '-', at most 63, that begins with a letter"
        return None, [problem_at(document, ("metadata", "name"), INVALID_PARAMETERS, message, expected)]
    service_type = annotations.get(SERVICE_TYPE) or dict(document.annotations).get(SERVICE_TYPE, "")
    if service_type not in ("", *SERVICE_TYPES):
        message = f"found '{service_type}' as the type of the Gateway's Service"
        where: FieldPath = ("spec", "infrastructure", "annotations", SERVICE_TYPE)
        return None, [problem_at(document, where, INVALID_PARAMETERS, message, " or ".join(SERVICE_TYPES))]
    if type_problems(document):
        return None, []
    wanted = asked_addresses(document.spec)
    if len(wanted) > 1:
        message = f"a Service is given one address, and the Gateway asks for {', '.join(wanted)}"
        return None, [problem_at(document, ("spec", "addresses", 1), NOT_USABLE, message, "one address")]
    ports = _ports(_listeners(declared, gateways))
    further, wrong = parameters.of(document, [(each.number, each.transport) for each in ports])
    if further is None:
        return None, wrong
    plan = GatewayPlan(
        key=declared.key,
        uid=_uid(declared),
        gateway_class=declared.gateway_class,
        ports=tuple(each for each in ports if each.number not in OWN_PORTS),
        labels=tuple(sorted((asked.labels or {}).items())),
        annotations=tuple(sorted(annotations.items())),
        service_type=service_type,
        address=next(iter(wanted), ""),
        parameters=further,
    )
    return plan, [*wrong, *(_reserved(declared, each) for each in ports if each.number in OWN_PORTS)]


def _listeners(declared: DeclaredGateway, gateways: Gateways) -> Iterable[Listener]:
    """Those of the document itself, whether or not their certificates are there now: an address that clients know does
    not come and go with a Secret. And those of its ListenerSets that are in force; what Gateways of Istio add by their
    selectors is served, but opens no port to clients."""
    model = gateways.by_name.get(declared.name)
    added = model.listeners if model is not None else ()
    of_sets = [each for each in added if each.object.kind == "ListenerSet"]
    return (*declared.listeners, *declared.waiting, *of_sets)


def _reserved(declared: DeclaredGateway, port: PlannedPort) -> Problem:
    message = f"port {port.number} is the agent's own in the pods of the Gateway, so no listener can be there"
    expected = f"another port than {' and '.join(map(str, sorted(OWN_PORTS)))}"
    return problem_at(declared.document, ("spec", "listeners"), INVALID_PARAMETERS, message, expected)


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
