"""Attachment: which routes attach to which listeners of a Gateway, for which hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weft.mesh.gateways.listeners import Listener
from weft.mesh.routes.claims import Claim, RouteDocument
from weft.mesh.routes.converted import MESH, trouble
from weft.mesh.routes.virtualservice import gateway_key
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import specificity
from weft.model.labels import Labels
from weft.model.origin import PathPart
from weft.model.problem import Problem, Severity
from weft.schema.hosts import covers, intersection
from weft.schema.kinds.httproute import HttpRouteSpec, ParentReference
from weft.schema.kinds.virtualservice import VirtualServiceSpec


@dataclass(frozen=True, slots=True)
class Wish:
    """A route's reference to a Gateway. `section` and `port` narrow it to some listeners; each host with its field."""

    document: RouteDocument
    gateway: str
    path: tuple[PathPart, ...]
    hosts: tuple[tuple[str, tuple[PathPart, ...]], ...]
    section: str = ""
    port: int = 0

    @property
    def kind(self) -> str:
        """The document's kind."""
        return self.document.key.kind


def gateway_wishes(document: RouteDocument, catalog: Catalog) -> Iterable[Wish]:
    """Every reference of a route document to a Gateway."""
    spec, namespace = document.spec, document.key.namespace
    if isinstance(spec, VirtualServiceSpec):
        named: list[tuple[str, tuple[PathPart, ...]]] = []
        for index, host in enumerate(spec.hosts):
            named.append((catalog.full_name(host, namespace), ("spec", "hosts", index)))
        for index, name in enumerate(spec.gateways):
            if name != MESH:
                yield Wish(document, gateway_key(name, namespace), ("spec", "gateways", index), tuple(named))
        return
    for index, parent in enumerate(spec.parent_refs):
        if parent.kind == "Gateway":
            yield _route_wish(document, spec, index, parent)


def _route_wish(document: RouteDocument, spec: HttpRouteSpec, index: int, parent: ParentReference) -> Wish:
    hosts = tuple((name.lower(), ("spec", "hostnames", place)) for place, name in enumerate(spec.hostnames))
    path: tuple[PathPart, ...] = ("spec", "parentRefs", index)
    return Wish(
        document=document,
        gateway=f"{parent.namespace or document.key.namespace}/{parent.name}",
        path=path,
        hosts=hosts or (("*", path),),
        section=parent.section_name or "",
        port=parent.port or 0,
    )


def attach(
    wish: Wish,
    gateway_namespace: str,
    listeners: Sequence[Listener],
    labels: Mapping[str, Labels],
    problems: list[Problem],
) -> Iterable[tuple[int, str, str, Claim]]:
    """(port, listener, host, claim) for every host the route gets; why it gets none is added to `problems`.

    On one port a host belongs to the listener with the most specific hostname that covers it.
    """
    named = [item for item in listeners if wish.section in ("", item.spec.name) and wish.port in (0, item.spec.port)]
    if not named:
        names = ", ".join(item.spec.name for item in listeners)
        asked = f"'{wish.section}'" if wish.section else f"on port {wish.port}" if wish.port else "in force"
        problems.append(_refusal(wish, "no-matching-listener", f"has no listener {asked}", f"one of {names}"))
        return
    namespace = wish.document.key.namespace
    allowed = [item for item in named if item.accepts(gateway_namespace, namespace, wish.kind, labels)]
    if not allowed:
        message = f"takes no {wish.kind} of namespace '{namespace}'"
        problems.append(_refusal(wish, "not-allowed", message, "allowedRoutes of the listener that let it in"))
        return
    found = False
    for listener in allowed:
        for host, path in wish.hosts:
            common = intersection(listener.hostname, host)
            if common:
                found = True
                if _owner(listeners, listener.spec.port, common) is listener:
                    claim = Claim(wish.document, listener.spec.port, path)
                    yield listener.spec.port, listener.spec.name, common, claim
    if not found:
        names = ", ".join(dict.fromkeys(item.hostname for item in allowed))
        problems.append(_refusal(wish, "no-matching-host", "has no listener for any host of the route", names))


def _owner(listeners: Sequence[Listener], port: int, host: str) -> Listener | None:
    """The listener of a port that takes requests for `host`."""
    covering = [item for item in listeners if item.spec.port == port and covers(item.hostname, host)]
    return max(covering, key=lambda item: specificity(item.hostname), default=None)


def _refusal(wish: Wish, code: str, message: str, expected: str) -> Problem:
    return trouble(
        wish.document, wish.path, code, f"Gateway {wish.gateway} {message}", expected, severity=Severity.ERROR
    )
