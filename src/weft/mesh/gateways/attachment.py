"""Attachment: which routes attach to which listeners of a Gateway, for which hosts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from weft.mesh.gateways.listeners import Listener
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.kind import ParentRef
from weft.mesh.routes.ownership import Contender
from weft.mesh.services.hosts import specificity
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, intersection
from weft.schema.wording import nearest_name

Wanted = tuple[Listener, str, Contender]
"""A listener, a host it serves, and the route that wants it there."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What one parentRef comes to: the `listeners` that let the route in and the hosts it may get there, or why not."""

    route: CompiledRoute
    parent: ParentRef
    hosts: tuple[Wanted, ...] = ()
    listeners: tuple[str, ...] = ()
    problem: Problem | None = None


def attach(
    route: CompiledRoute,
    parent: ParentRef,
    listeners: Sequence[Listener],
    labels: Mapping[str, Labels],
    written: Collection[str] = (),
) -> Attachment:
    """The listeners and hosts for which the route may be in force. `labels` are those of every declared namespace,
    `written` the names of all listeners of the Gateway, also of those that are not in force.

    On one port a host belongs to the listener with the most specific hostname that covers it.
    """
    named = [each for each in listeners if parent.section in ("", each.name) and parent.port in (0, each.port)]
    if not named:
        return _no_listener(route, parent, listeners, written)
    kind, namespace = route.kind.kind, route.document.key.namespace
    allowed = [each for each in named if each.admission.admits(kind, namespace, labels)]
    if not allowed:
        message = f"takes no {kind} of namespace '{namespace}'"
        return _refused(route, parent, "not-allowed", message, "allowedRoutes of the listener that let it in")
    hosts: list[Wanted] = []
    found: dict[str, None] = {}
    for listener in allowed:
        for host, path in parent.hosts:
            common = intersection(listener.hostname, host)
            if common:
                found[listener.name] = None
            if common and _owner(listeners, listener.port, common) is listener:
                hosts.append((listener, common, (route, path)))
    if not found:
        names = one_of(dict.fromkeys(each.hostname for each in allowed), "")
        return _refused(route, parent, "no-matching-host", "has no listener for any host of the route", names)
    return Attachment(route, parent, tuple(hosts), tuple(found))


def _owner(listeners: Sequence[Listener], port: int, host: str) -> Listener | None:
    """The listener of a port that takes requests for `host`."""
    covering = [each for each in listeners if each.port == port and covers(each.hostname, host)]
    return max(covering, key=lambda each: specificity(each.hostname), default=None)


def _no_listener(
    route: CompiledRoute, parent: ParentRef, listeners: Sequence[Listener], written: Collection[str]
) -> Attachment:
    names = [each.name for each in listeners]
    if parent.section in written and parent.section not in names:
        message = f"has a listener '{parent.section}' with errors, so it is not in force"
        return _refused(route, parent, "no-matching-listener", message, "a listener that is in force")
    asked = f"'{parent.section}'" if parent.section else f"on port {parent.port}" if parent.port else "in force"
    expected = one_of(names, "a listener that is in force")
    near = nearest_name(parent.section, names) if parent.section and parent.section not in names else ""
    return _refused(route, parent, "no-matching-listener", f"has no listener {asked}", expected, near)


def _refused(
    route: CompiledRoute, parent: ParentRef, code: str, message: str, expected: str, nearest: str = ""
) -> Attachment:
    text = f"Gateway {parent.gateway} {message}"
    return Attachment(
        route, parent, problem=problem_at(route.document, parent.path, code, text, expected, nearest=nearest)
    )
