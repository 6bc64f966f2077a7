"""The status of a Gateway's listeners in the Gateway API's words: which are in force, why not, and what is attached.

https://gateway-api.sigs.k8s.io/reference/spec/#listenerstatus
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from weft.mesh.gateways.addresses import UNSUPPORTED
from weft.mesh.gateways.clients import is_lenient, validation_of_port
from weft.mesh.gateways.gateway import Gateways
from weft.mesh.gateways.infrastructure import INVALID_PARAMETERS
from weft.mesh.routes.acceptance import Condition
from weft.mesh.routes.status import conditions_mapping
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewaySpec

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
_AUTHORITIES = {
    "unknown-authority": "InvalidCACertificateRef",
    "bad-authority-kind": "InvalidCACertificateKind",
    "reference-not-granted": "RefNotPermitted",
}
"""Why what vouches for the clients of a port is not resolved, by the code of the Problem."""
_SETS = {"listeners-not-allowed": "NotAllowed", "unknown-gateway": "ParentNotAccepted"}
"""Why a ListenerSet is not accepted, by the code of the Problem."""
NOT_USABLE = "address-not-usable"
"""The code of a Problem of a Gateway whose Service cannot have the address that it asks for."""
_CLIENT: FieldPath = ("spec", "tls", "backend")
_LISTENERS: FieldPath = ("spec", "listeners")
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
        conditions = _conditions(name in standing, wrong)
        if isinstance(declared.document.spec, GatewaySpec):
            document = cast("Document[GatewaySpec]", declared.document)
            conditions = _with_clients(conditions, document, index, problems)
        found.append(ListenerStatus(name, attached, conditions))
    return tuple(found)


def _with_clients(
    conditions: tuple[Condition, ...], document: Document[GatewaySpec], index: int, problems: Sequence[Problem]
) -> tuple[Condition, ...]:
    """ResolvedRefs is false where anything that vouches for the clients of the listener is not there (GEP-91)."""
    spec = document.spec.listeners[index]
    asked = validation_of_port(document, spec.port) if spec.protocol == "HTTPS" else None
    if asked is None:
        return conditions
    where = asked[0]
    for problem in problems:
        if problem.code in _AUTHORITIES and problem.path[: len(where)] == where:
            unresolved = Condition("ResolvedRefs", False, _AUTHORITIES[problem.code], problem.message)
            return tuple([unresolved if each.type == "ResolvedRefs" else each for each in conditions])
    return conditions


def attached_sets(key: ObjectKey, gateways: Gateways) -> int:
    """How many ListenerSets a Gateway of the Gateway API has taken, with a listener in force."""
    declared = gateways.declared.get(key)
    if declared is None or declared.selector is not None or declared.parent:
        return 0
    model = gateways.by_name.get(declared.name)
    standing = {each.object for each in model.listeners if not each.closed} if model is not None else frozenset()
    return sum(each.kind == "ListenerSet" for each in standing)


def gateways_by_service(gateways: Gateways) -> Mapping[ObjectKey, tuple[ObjectKey, ...]]:
    """The Gateways of the Gateway API at which a route in force names each Service, in the order of their names."""
    found: dict[ObjectKey, dict[ObjectKey, None]] = {}
    for model in sorted(gateways.by_name.values(), key=lambda each: each.name):
        attached = {one for hosts in model.hosts.values() for host in hosts for one in host.routes}
        for route, name in sorted(attached, key=lambda one: one[1]):
            namespace, _, plain = name.partition("/")
            key = ObjectKey(GATEWAY_GROUP, "Gateway", namespace, plain)
            if key in gateways.declared:
                for frontend, allowed, _ in route.referents:
                    if frontend is not None and allowed:
                        found.setdefault(frontend.key, {})[key] = None
    return MappingProxyType({service: tuple(keys) for service, keys in found.items()})


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
    why = conflicted.reason if conflicted.status else "Invalid"
    programmed = _PROGRAMMED if stands else Condition("Programmed", False, why)
    return accepted, conflicted, programmed, resolved


def gateway_conditions(
    listeners: Sequence[ListenerStatus], *, served: bool, refers: bool = False, problems: Sequence[Problem] = ()
) -> tuple[Condition, ...]:
    """The conditions of a Gateway of ours. `served`: a process serves it; `refers`: it names a certificate for servers
    that it calls. `problems` are those of the document."""
    foreign = next((each for each in problems if each.code == UNSUPPORTED), None)
    if foreign is not None:
        refused = Condition("Accepted", False, "UnsupportedAddress", foreign.message)
        return refused, Condition("Programmed", False, "Invalid", "its process stays as it was")
    unfit = next((each for each in problems if each.code == INVALID_PARAMETERS and each.path != _LISTENERS), None)
    if unfit is not None:
        refused = Condition("Accepted", False, "InvalidParameters", unfit.message)
        return refused, Condition("Programmed", False, "Invalid", "no process is made for it as it is")
    bad = next((each for each in problems if each.path[:3] == _CLIENT), None)
    found = _accepted_and_programmed(listeners, served=served)
    unusable = next((each for each in problems if each.code == NOT_USABLE), None)
    if unusable is not None:
        found = found[0], Condition("Programmed", False, "AddressNotUsable", unusable.message)
    if bad is None:
        return (*found, Condition("ResolvedRefs", True, "ResolvedRefs")) if refers else found
    reason = "RefNotPermitted" if bad.code == "reference-not-granted" else "InvalidClientCertificateRef"
    return (*found, Condition("ResolvedRefs", False, reason, bad.message))


def mode_conditions(spec: GatewaySpec) -> tuple[Condition, ...]:
    """The condition that stands while clients whose certificates nobody vouches for get in."""
    if not is_lenient(spec):
        return ()
    message = "tls.frontend lets in clients whose certificates nobody vouches for"
    return (Condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", message),)


def set_conditions(
    listeners: Sequence[ListenerStatus], *, served: bool, problems: Sequence[Problem] = ()
) -> tuple[Condition, ...]:
    """The conditions of a ListenerSet, which is not accepted where none of its listeners is in force (GEP-1713).
    Arguments as above."""
    for problem in problems:
        if problem.code in _SETS:
            return _set_refused(_SETS[problem.code], problem.message)
    if not any(_holds(each, "Programmed") for each in listeners):
        return _set_refused("ListenersNotValid", "no listener is in force")
    return _accepted_and_programmed(listeners, served=served)


def _set_refused(reason: str, message: str) -> tuple[Condition, ...]:
    return Condition("Accepted", False, reason, message), Condition("Programmed", False, reason, message)


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
