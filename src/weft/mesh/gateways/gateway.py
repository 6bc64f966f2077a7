"""Gateways: which Gateway documents are ours, and which routes are in force on each port and host of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.gateways.attachment import Wish, attach, gateway_wishes
from weft.mesh.gateways.listeners import Listener, SecretDocument, build_listeners
from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import Claim, RouteDocument, conflict, decide
from weft.mesh.routes.converted import trouble
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import specificity
from weft.model.document import Document
from weft.model.labels import Labels
from weft.model.problem import Problem, Severity
from weft.schema.hosts import covers, is_wildcard
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.kinds.gateway import BUILT_IN_CLASSES, CONTROLLER_NAME, GatewayClassSpec, GatewaySpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

GatewayDocument = Document[GatewaySpec]


@dataclass(frozen=True, slots=True)
class GatewayHost:
    """A host of a port: the documents in force on it, and, after their rules, those of ever wider hosts of the same
    listener, whose rules a request may still match (Gateway API's host precedence)."""

    host: str
    documents: tuple[RouteDocument, ...]
    wider: tuple[tuple[RouteDocument, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GatewayModel:
    """One Gateway of ours: its listeners in force and the hosts of each port."""

    document: GatewayDocument
    listeners: tuple[Listener, ...]
    hosts: Mapping[int, tuple[GatewayHost, ...]]

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return f"{self.document.key.namespace}/{self.document.key.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Gateways:
    """All Gateways of ours by ``namespace/name``."""

    by_name: Mapping[str, GatewayModel]
    problems: tuple[Problem, ...] = ()


def build_gateways(
    memo: Memo,
    documents: tuple[GatewayDocument, ...],
    classes: tuple[Document[GatewayClassSpec], ...],
    namespaces: tuple[Document[NamespaceSpec], ...],
    secrets: tuple[SecretDocument, ...],
    routes: tuple[RouteDocument, ...],
    catalog: Catalog,
    grants: Grants,
) -> Gateways:
    """Every Gateway whose class is ours, with the routes attached to it."""
    problems: list[Problem] = []
    labels = {document.key.name: document.labels for document in namespaces}
    by_secret = {(document.key.namespace, document.key.name): document for document in secrets}
    ours: dict[str, tuple[GatewayDocument, tuple[Listener, ...]]] = {}
    foreign: set[str] = set()
    for document in documents:
        name = f"{document.key.namespace}/{document.key.name}"
        bad = _class_problem(document, classes)
        if bad is not None:
            problems.append(bad)
            foreign.add(name)
        else:
            ours[name] = (document, build_listeners(memo, document, by_secret, grants, problems))
    wishes: dict[str, list[Wish]] = {}
    for route in routes:
        for wish in gateway_wishes(route, catalog):
            if wish.gateway in ours:
                wishes.setdefault(wish.gateway, []).append(wish)
            elif wish.gateway not in foreign:
                problems.append(_unknown_gateway(wish, ours))
    models = {
        name: GatewayModel(document, listeners, _hosts(document, listeners, wishes.get(name, ()), labels, problems))
        for name, (document, listeners) in ours.items()
    }
    return Gateways(MappingProxyType(models), tuple(dict.fromkeys(problems)))


def _class_problem(document: GatewayDocument, classes: Iterable[Document[GatewayClassSpec]]) -> Problem | None:
    name = document.spec.gateway_class_name
    path = ("spec", "gatewayClassName")
    found = next((item for item in classes if item.key.name == name), None)
    if found is None and name in BUILT_IN_CLASSES:
        return None
    if found is None:
        known = [*BUILT_IN_CLASSES, *(item.key.name for item in classes)]
        nearest = next(iter(difflib.get_close_matches(name, known, 1)), "")
        expected = f"one of {', '.join(known)}"
        return trouble(document, path, "unknown-class", f"there is no GatewayClass '{name}'", expected, nearest=nearest)
    if found.spec.controller_name == CONTROLLER_NAME:
        return None
    return trouble(
        document,
        path,
        "foreign-class",
        f"GatewayClass '{name}' belongs to controller '{found.spec.controller_name}', so this Gateway is left alone",
        f"class {' or '.join(BUILT_IN_CLASSES)} for a Gateway of this mesh",
        severity=Severity.WARNING,
    )


def _unknown_gateway(wish: Wish, known: Iterable[str]) -> Problem:
    nearest = next(iter(difflib.get_close_matches(wish.gateway, list(known), 1)), "")
    message = f"there is no Gateway {wish.gateway}"
    return trouble(wish.document, wish.path, "unknown-gateway", message, "the name of a Gateway", nearest=nearest)


def _hosts(
    document: GatewayDocument,
    listeners: tuple[Listener, ...],
    wishes: Iterable[Wish],
    labels: Mapping[str, Labels],
    problems: list[Problem],
) -> Mapping[int, tuple[GatewayHost, ...]]:
    """The hosts of each port with the documents that won them."""
    claims: dict[tuple[int, str], dict[str, list[Claim]]] = {}
    for wish in wishes:
        for port, name, host, claim in attach(wish, document.key.namespace, listeners, labels, problems):
            claims.setdefault((port, name), {}).setdefault(host, []).append(claim)
    found: dict[int, list[GatewayHost]] = {listener.spec.port: [] for listener in listeners}
    for listener in listeners:
        wanted = claims.get((listener.spec.port, listener.spec.name), {})
        won: dict[str, tuple[RouteDocument, ...]] = {}
        for host, candidates in wanted.items():
            winners, losers = decide(candidates)
            won[host] = tuple(claim.document for claim in winners)
            problems += [conflict(loser, winners[0], host) for loser in losers]
        if listener.hostname not in won:
            won[listener.hostname] = ()
        found[listener.spec.port] += [GatewayHost(host, owners, _wider(host, won)) for host, owners in won.items()]
    return MappingProxyType({port: tuple(sorted(hosts, key=lambda item: item.host)) for port, hosts in found.items()})


def _wider(host: str, won: Mapping[str, tuple[RouteDocument, ...]]) -> tuple[tuple[RouteDocument, ...], ...]:
    """HTTPRoutes of hosts that cover `host`, the most specific first. A VirtualService shares with nobody."""
    if any(isinstance(document.spec, VirtualServiceSpec) for document in won[host]):
        return ()
    covering = [other for other in won if other != host and is_wildcard(other) and covers(other, host)]
    groups = [won[other] for other in sorted(covering, key=specificity, reverse=True)]
    return tuple(group for group in groups if group and not isinstance(group[0].spec, VirtualServiceSpec))
