"""Attachment: which routes attach to which listeners of a Gateway, for which hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.mesh.gateways.declared import DeclaredGateway
from weft.mesh.gateways.listeners import Listener
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.kind import ParentRef
from weft.mesh.routes.ownership import Contender
from weft.mesh.services.exports import is_exported
from weft.mesh.services.hosts import specificity
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, intersection
from weft.schema.wording import nearest_name

Wanted = tuple[Listener, str, Contender]
"""A listener, a host it serves, and the route that wants it there."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What one parentRef comes to: the `listeners` of a `gateway` that let the route in and the hosts it may get there,
    or why not."""

    route: CompiledRoute
    parent: ParentRef
    gateway: DeclaredGateway | None = None
    hosts: tuple[Wanted, ...] = ()
    listeners: tuple[str, ...] = ()
    problem: Problem | None = None


def attach(
    route: CompiledRoute, parent: ParentRef, gateway: DeclaredGateway, labels: Mapping[str, Labels]
) -> Attachment:
    """The listeners and hosts for which the route may be in force. `labels` are those of every declared namespace.

    On one port a host belongs to the isolated listener with the most specific hostname that covers it. At a listener
    that waits the route is attached, and gets no host.
    """
    listeners = gateway.listeners
    there = (*_standing(gateway), *gateway.waiting)
    named = [each for each in there if parent.section in ("", each.name) and parent.port in (0, each.port)]
    if not named:
        return _no_listener(route, parent, gateway)
    kind, namespace = route.kind.kind, route.document.key.namespace
    if not is_exported(route.exports, gateway.key.namespace):
        message = f"stands in namespace '{gateway.key.namespace}', to which this {kind} is not exported"
        return _refused(route, parent, "not-allowed", message, "exportTo with that namespace", gateway)
    carried = [
        each for each in named if route.kind.carried_by(route.document, each.protocol, opened=each.tls is not None)
    ]
    if not carried:
        protocols = " and ".join(sorted({each.protocol for each in named}))
        message = f"carries {protocols} there, which no rule of this document is for"
        expected = "a listener whose protocol goes with its rules"
        return _refused(route, parent, "wrong-protocol", message, expected, gateway)
    allowed = [
        (listener, host.hostname)
        for listener in carried
        for host in listener.hosts
        if host.admission.admits(kind, namespace, labels)
    ]
    if not allowed:
        message = f"takes no {kind} of namespace '{namespace}'"
        return _refused(route, parent, "not-allowed", message, "allowedRoutes of the listener that let it in", gateway)
    hosts: dict[Wanted, None] = {}
    found: dict[str, None] = {}
    for listener, hostname in allowed:
        for host, path in parent.hosts:
            common = intersection(hostname, host)
            if common:
                found[listener.name] = None
            if common and listener not in gateway.waiting and owns(listeners, listener, common):
                hosts[listener, common, (route, path)] = None
    if not found:
        names = one_of(dict.fromkeys(hostname for _, hostname in allowed), "")
        message = "has no listener for any host of the route"
        return _refused(route, parent, "no-matching-host", message, names, gateway)
    return Attachment(route, parent, gateway, tuple(hosts), tuple(found))


def owns(listeners: Sequence[Listener], listener: Listener, host: str) -> bool:
    """Whether requests for `host` come to this listener of its port."""
    if not listener.isolated:
        return True
    covering = [
        (specificity(hostname), each)
        for each in listeners
        if (each.port, each.plain, each.datagrams) == (listener.port, listener.plain, listener.datagrams)
        for hostname in each.hostnames
        if covers(hostname, host)
    ]
    return max(covering, key=lambda one: one[0])[1] is listener


def _standing(gateway: DeclaredGateway) -> list[Listener]:
    return [each for each in gateway.listeners if not each.closed]


def _no_listener(route: CompiledRoute, parent: ParentRef, gateway: DeclaredGateway) -> Attachment:
    names = [each.name for each in _standing(gateway)]
    if parent.section in gateway.written and parent.section not in names:
        message = f"has a listener '{parent.section}' with errors, so it is not in force"
        return _refused(route, parent, "no-matching-listener", message, "a listener that is in force", gateway)
    asked = f"'{parent.section}'" if parent.section else f"on port {parent.port}" if parent.port else "in force"
    expected = one_of(names, "a listener that is in force")
    near = nearest_name(parent.section, names) if parent.section and parent.section not in names else ""
    return _refused(route, parent, "no-matching-listener", f"has no listener {asked}", expected, gateway, near)


def _refused(
    route: CompiledRoute,
    parent: ParentRef,
    code: str,
    message: str,
    expected: str,
    gateway: DeclaredGateway,
    nearest: str = "",
) -> Attachment:
    text = f"{parent.kind} {parent.gateway} {message}"
    problem = problem_at(route.document, parent.path, code, text, expected, nearest=nearest)
    return Attachment(route, parent, gateway, problem=problem)
