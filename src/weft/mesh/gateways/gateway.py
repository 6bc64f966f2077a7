"""Gateways: which Gateway documents are ours, and which routes are in force on each port and host of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.gateways.attachment import Attachment, attach
from weft.mesh.gateways.listeners import Listener, SecretDocument, build_listeners
from weft.mesh.gateways.taken import idle_rules, references_of_route, take_route
from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.acceptance import Parents, by_route
from weft.mesh.routes.compiled import CompiledRoute, gateway_rules
from weft.mesh.routes.kind import RouteDocument
from weft.mesh.routes.ownership import Contender, Lost, conflict, decide, routes_of
from weft.mesh.routes.precedence import merge_by_precedence
from weft.mesh.routes.table import RouteTable, crowded_problems
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import specificity
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.findings import printable
from weft.schema.hosts import covers, is_wildcard
from weft.schema.kinds.core import NamespaceSpec
from weft.schema.kinds.gateway import BUILT_IN_CLASSES, CONTROLLER_NAME, GatewayClassSpec, GatewaySpec
from weft.schema.wording import nearest_name

GatewayDocument = Document[GatewaySpec]
ClassDocument = Document[GatewayClassSpec]
Routes = tuple[CompiledRoute, ...]


@dataclass(frozen=True, slots=True)
class GatewayHost:
    """A host of the listener called `listener`: the routes in force on it, and, after their rules, those of ever wider
    hosts of the same listener, whose rules a request may still match (Gateway API's host precedence)."""

    host: str
    listener: str
    routes: Routes
    wider: tuple[Routes, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GatewayModel:
    """One Gateway of ours, named ``namespace/name``: its listeners in force and the hosts of each port; `lost` are the
    hosts that routes do not get, `problems` tell of rules that those of other documents hide. Compared by identity."""

    name: str
    key: ObjectKey
    listeners: tuple[Listener, ...]
    hosts: Mapping[int, tuple[GatewayHost, ...]]
    lost: tuple[Lost, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gateways:
    """All Gateways of ours by ``namespace/name``, how many routes each of their listeners has let in (by the listener's
    name), and for each route how its references to Gateways were taken."""

    by_name: Mapping[str, GatewayModel]
    attached: Mapping[str, Mapping[str, int]]
    parents: tuple[Parents, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The Gateway documents: the listeners in force of ours by name, the names of others', where those stand that have
    errors of their own, and namespaces' labels."""

    documents: Mapping[str, GatewayDocument]
    listeners: Mapping[str, tuple[Listener, ...]]
    foreign: frozenset[str]
    refused: Mapping[str, str]
    labels: Mapping[str, Labels]
    problems: tuple[Problem, ...]

    def written(self, name: str) -> tuple[str, ...]:
        """The names of all listeners of a Gateway of ours, also of those that are not in force."""
        return tuple(listener.name for listener in self.documents[name].spec.listeners)


def build_declared(
    documents: tuple[GatewayDocument, ...],
    memo: Memo,
    classes: tuple[ClassDocument, ...],
    namespaces: tuple[Document[NamespaceSpec], ...],
    secrets: tuple[SecretDocument, ...],
    grants: Grants,
    refused: tuple[tuple[str, str], ...] = (),
) -> Declared:
    """The Gateways whose class is ours, with their listeners. `refused` are the names of those that the decoder
    refused, and where they stand."""
    by_secret = {document.key: document for document in secrets}
    problems: list[Problem] = [problem for each in classes for problem in _foreign_class(each)]
    ours: dict[str, GatewayDocument] = {}
    listeners: dict[str, tuple[Listener, ...]] = {}
    for document in documents:
        bad = _class_problem(document, classes)
        if bad is not None:
            problems.append(bad)
            continue
        name = _name(document)
        ours[name] = document
        listeners[name], wrong = build_listeners(memo, document, by_secret, grants)
        problems += wrong
    return Declared(
        documents=MappingProxyType(ours),
        listeners=MappingProxyType(listeners),
        foreign=frozenset(map(_name, documents)) - ours.keys(),
        refused=MappingProxyType(dict(refused)),
        labels=MappingProxyType({document.key.name: document.labels for document in namespaces}),
        problems=tuple(problems),
    )


def build_gateways(
    memo: Memo, declared: Declared, table: RouteTable, catalog: Catalog, rules: DestinationRules
) -> Gateways:
    """Every Gateway of ours, with the routes attached to it."""
    routes = table.routes
    documents = [route.document for route in routes]
    found = memo.rows(attach_route, (documents, routes), declared)
    attachments = tuple([attachment for each in found if each for attachment in each])
    by_gateway: dict[str, list[Attachment]] = {name: [] for name in declared.listeners}
    for attachment in attachments:
        if attachment.listeners:
            by_gateway[attachment.parent.gateway].append(attachment)
    models = {
        name: memo.over(build_gateway, given, declared.documents[name], declared.listeners[name], memo)
        for name, given in by_gateway.items()
    }
    lost = tuple([one for model in models.values() for one in model.lost])
    referred = memo.rows(references_of_route, (documents, routes, found))
    taken = memo.rows(take_route, (documents, routes, found, referred, by_route(routes, lost)), catalog, rules)
    problems = [*declared.problems, *(each.problem for each in attachments if each.problem is not None)]
    problems += [problem for each in memo.rows(mention_problems, (routes,), declared) if each for problem in each]
    problems += [one.problem for one in lost]
    problems += [problem for model in models.values() for problem in model.problems]
    idle = memo.rows(idle_rules, (documents, routes, found), catalog)
    problems += [problem for each in idle if each for problem in each]
    problems += [problem for each in taken if each.problems for problem in each.problems]
    return Gateways(
        by_name=MappingProxyType(models),
        attached=MappingProxyType(
            {name: _attached(declared.listeners[name], given) for name, given in by_gateway.items()}
        ),
        parents=tuple([each.parents for each in taken]),
        problems=tuple(dict.fromkeys(problems)),
    )


def attach_route(
    _memo: Memo, _document: RouteDocument, route: CompiledRoute, declared: Declared
) -> tuple[Attachment, ...]:
    """How each reference of a route to a Gateway is taken. Other controllers' Gateways are left alone."""
    return tuple(
        attach(route, parent, declared.listeners[parent.gateway], declared.labels, declared.written(parent.gateway))
        if parent.gateway in declared.listeners
        else Attachment(route, parent, problem=_unknown(route, parent.gateway, parent.path, declared))
        for parent in route.parents
        if parent.gateway not in declared.foreign
    )


def mention_problems(_memo: Memo, route: CompiledRoute, declared: Declared) -> tuple[Problem, ...]:
    """Gateways that the rules of a route name and that do not exist."""
    mentioned = route.kind.mentioned(route.document)
    known = {*declared.listeners, *declared.foreign} if mentioned else ()
    return tuple(_unknown(route, name, path, declared) for name, path in mentioned if name not in known)


def build_gateway(
    attachments: tuple[Attachment, ...], document: GatewayDocument, listeners: tuple[Listener, ...], memo: Memo
) -> GatewayModel:
    """A Gateway with the hosts of each port and the routes that have them."""
    contenders: dict[tuple[str, str], list[Contender]] = {}
    for attachment in attachments:
        for listener, host, contender in attachment.hosts:
            contenders.setdefault((listener.name, host), []).append(contender)
    hosts: dict[int, list[GatewayHost]] = {listener.port: [] for listener in listeners}
    lost: dict[Lost, None] = {}
    uses: dict[str, list[tuple[int, Routes]]] = {}
    for listener in listeners:
        won: dict[str, Routes] = {}
        for (name, host), candidates in contenders.items():
            if name == listener.name:
                winners, losers = decide(candidates, at_gateway=True)
                won[host] = routes_of(winners)
                uses.setdefault(host, []).append((listener.port, won[host]))
                for loser in losers:
                    problem = conflict(loser, winners[0], host)
                    where = (_name(document), name)
                    lost[Lost(loser[0].document.key, loser[1], host, problem, where)] = None
        won.setdefault(listener.hostname, ())
        wildcards = sorted(filter(is_wildcard, won), key=specificity, reverse=True)
        hosts[listener.port] += [
            memo(GatewayHost, host, listener.name, routes, _wider(host, won, wildcards)) for host, routes in won.items()
        ]
    return GatewayModel(
        name=_name(document),
        key=document.key,
        listeners=listeners,
        hosts=MappingProxyType(
            {port: tuple(sorted(found, key=lambda each: each.host)) for port, found in hosts.items()}
        ),
        lost=tuple(lost),
        problems=tuple(
            problem
            for host, ports in uses.items()
            if any(len(routes) > 1 for _, routes in ports)
            for problem in memo(_crowded, memo, _name(document), host, tuple(ports))
        ),
    )


def _crowded(memo: Memo, gateway: str, host: str, uses: tuple[tuple[int, Routes], ...]) -> tuple[Problem, ...]:
    """Rules that those of other documents hide, wherever these share a host: `uses` are the ports and the routes."""
    every = tuple({id(route): route for _, routes in uses for route in routes}.values())
    parts = [[gateway_rules(memo, each, port, gateway) for each in routes] for port, routes in uses]
    merged = [merge_by_precedence(each, one_caller=False) for each in parts]
    hosts = "every host" if host == "*" else f"'{host}'"
    return crowded_problems(every, tuple(merged), f"at Gateway {gateway} for {hosts}")


def _attached(listeners: tuple[Listener, ...], attachments: Sequence[Attachment]) -> Mapping[str, int]:
    """How many routes each listener has let in (the API's attachedRoutes), whether they get a host there or not."""
    routes: dict[str, set[ObjectKey]] = {listener.name: set() for listener in listeners}
    for attachment in attachments:
        for name in attachment.listeners:
            routes[name].add(attachment.route.document.key)
    return MappingProxyType({name: len(found) for name, found in routes.items()})


def _name(document: GatewayDocument) -> str:
    return f"{document.key.namespace}/{document.key.name}"


def _foreign_class(document: ClassDocument) -> Iterable[Problem]:
    controller = document.spec.controller_name
    if controller != CONTROLLER_NAME:
        path = ("spec", "controllerName")
        message = f"the class belongs to '{printable(controller[:80])}': weft leaves its Gateways alone"
        yield problem_at(document, path, "foreign-class", message, CONTROLLER_NAME, severity=Severity.WARNING)


def _class_problem(document: GatewayDocument, classes: Sequence[ClassDocument]) -> Problem | None:
    name = document.spec.gateway_class_name
    path = ("spec", "gatewayClassName")
    found = next((item for item in classes if item.key.name == name), None)
    if found is None and name in BUILT_IN_CLASSES:
        return None
    if found is None:
        known = [*BUILT_IN_CLASSES, *(item.key.name for item in classes)]
        message = f"there is no GatewayClass '{name}'; set gatewayClassName: {BUILT_IN_CLASSES[0]}"
        near = nearest_name(name, known)
        return problem_at(document, path, "unknown-class", message, one_of(known, ""), nearest=near)
    if found.spec.controller_name == CONTROLLER_NAME:
        return None
    controller = printable(found.spec.controller_name[:80])
    message = f"GatewayClass '{name}' belongs to controller '{controller}', so this Gateway is left alone"
    expected = f"class {' or '.join(BUILT_IN_CLASSES)} for a Gateway of this mesh"
    return problem_at(document, path, "foreign-class", message, expected, severity=Severity.WARNING)


def _unknown(route: CompiledRoute, gateway: str, path: FieldPath, declared: Declared) -> Problem:
    namespace, _, name = gateway.rpartition("/")
    if gateway in declared.refused:
        message = f"Gateway '{name}' ({declared.refused[gateway]}) has errors, so it is not in force"
        return problem_at(route.document, path, "unknown-gateway", message, severity=Severity.WARNING)
    known = [other.rpartition("/")[2] for other in declared.listeners if other.startswith(f"{namespace}/")]
    message = f"there is no Gateway '{name}' in namespace '{namespace}'"
    near = nearest_name(name, known)
    expected = "the name of a Gateway"
    return problem_at(route.document, path, "unknown-gateway", message, expected, nearest=near)


def _wider(host: str, won: Mapping[str, Routes], wildcards: Sequence[str]) -> tuple[Routes, ...]:
    """Routes of those `wildcards` (the most specific first) that cover `host`. An exclusive kind has none."""
    if any(route.kind.exclusive for route in won[host]):
        return ()
    groups = [won[other] for other in wildcards if other != host and covers(other, host)]
    return tuple(group for group in groups if group and not group[0].kind.exclusive)
