"""Gateways: which Gateway documents are ours, and which routes are in force on each port and host of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.gateways.attachment import Attachment, attach
from weft.mesh.gateways.listeners import Listener, SecretDocument, build_listeners
from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.acceptance import Attachments
from weft.mesh.routes.compiled import CompiledRoute, gateway_rules
from weft.mesh.routes.kind import Converted, SubsetUse
from weft.mesh.routes.ownership import Contender, conflict, decide
from weft.mesh.routes.table import subset_problem
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
    """One Gateway of ours, named ``namespace/name``: its listeners in force and the hosts of each port. Compared by
    identity."""

    name: str
    key: ObjectKey
    listeners: tuple[Listener, ...]
    hosts: Mapping[int, tuple[GatewayHost, ...]]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gateways:
    """All Gateways of ours by ``namespace/name``, for each route how its references to Gateways were taken, and the
    subsets that rules on Gateways send to, by the service's full name."""

    by_name: Mapping[str, GatewayModel]
    attachments: tuple[Attachments, ...]
    subsets: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The Gateway documents: the listeners in force of ours by name, the names of others', and namespaces' labels."""

    documents: Mapping[str, GatewayDocument]
    listeners: Mapping[str, tuple[Listener, ...]]
    foreign: frozenset[str]
    labels: Mapping[str, Labels]
    problems: tuple[Problem, ...]


def build_declared(
    documents: tuple[GatewayDocument, ...],
    memo: Memo,
    classes: tuple[ClassDocument, ...],
    namespaces: tuple[Document[NamespaceSpec], ...],
    secrets: tuple[SecretDocument, ...],
    grants: Grants,
) -> Declared:
    """The Gateways whose class is ours, with their listeners."""
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
        labels=MappingProxyType({document.key.name: document.labels for document in namespaces}),
        problems=tuple(problems),
    )


def build_gateways(
    memo: Memo, declared: Declared, routes: Routes, catalog: Catalog, rules: DestinationRules
) -> Gateways:
    """Every Gateway of ours, with the routes attached to it."""
    found = memo.rows(attach_route, (routes,), declared)
    attachments = tuple([attachment for each in found if each for attachment in each])
    by_gateway: dict[str, list[Attachment]] = {name: [] for name in declared.listeners}
    for attachment in attachments:
        if attachment.hosts:
            by_gateway[attachment.parent.gateway].append(attachment)
    models = {
        name: memo.over(build_gateway, given, declared.documents[name], declared.listeners[name], memo)
        for name, given in by_gateway.items()
    }
    problems = [*declared.problems, *(each.problem for each in attachments if each.problem is not None)]
    problems += [problem for each in memo.rows(mention_problems, (routes,), declared) if each for problem in each]
    for model in models.values():
        problems += model.problems
        problems += memo(_rule_problems, memo, model, catalog, rules)
    uses = {use for model in models.values() for use in memo(_subsets, memo, model)}
    return Gateways(
        by_name=MappingProxyType(models),
        attachments=memo.rows(_taken, (found,)),
        subsets=memo(_by_service, tuple(sorted(uses))),
        problems=tuple(dict.fromkeys(problems)),
    )


def _subsets(memo: Memo, model: GatewayModel) -> tuple[tuple[str, str], ...]:
    """The subsets that the rules on a Gateway send to, each with its service."""
    return tuple(dict.fromkeys((use.host, use.subset) for _, use in _subset_uses(memo, model)))


def _by_service(uses: tuple[tuple[str, str], ...]) -> Mapping[str, tuple[str, ...]]:
    hosts = dict.fromkeys(host for host, _ in uses)
    return MappingProxyType({host: tuple(name for other, name in uses if other == host) for host in hosts})


def _taken(_memo: Memo, attachments: tuple[Attachment, ...]) -> Attachments:
    return tuple((attachment.parent, attachment.problem) for attachment in attachments)


def attach_route(_memo: Memo, route: CompiledRoute, declared: Declared) -> tuple[Attachment, ...]:
    """How each reference of a route to a Gateway is taken. Other controllers' Gateways are left alone."""
    return tuple(
        attach(route, parent, declared.listeners[parent.gateway], declared.labels)
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
    problems: list[Problem] = []
    for listener in listeners:
        won: dict[str, Routes] = {}
        for (name, host), candidates in contenders.items():
            if name == listener.name:
                winners, losers = decide(candidates)
                won[host] = tuple(route for route, _ in winners)
                problems += [conflict(loser, winners[0], host) for loser in losers]
        won.setdefault(listener.hostname, ())
        hosts[listener.port] += [
            memo(GatewayHost, host, listener.name, routes, _wider(host, won)) for host, routes in won.items()
        ]
    return GatewayModel(
        name=_name(document),
        key=document.key,
        listeners=listeners,
        hosts=MappingProxyType(
            {port: tuple(sorted(found, key=lambda each: each.host)) for port, found in hosts.items()}
        ),
        problems=tuple(dict.fromkeys(problems)),
    )


def _rule_problems(memo: Memo, model: GatewayModel, catalog: Catalog, rules: DestinationRules) -> tuple[Problem, ...]:
    """What is wrong with the rules that are in force on a Gateway."""
    found = dict.fromkeys(problem for _, converted in _converted(memo, model) for problem in converted.problems)
    for route, use in _subset_uses(memo, model):
        bad = subset_problem(route.document, use, catalog, rules)
        if bad is not None:
            found[bad] = None
    return tuple(found)


def _converted(memo: Memo, model: GatewayModel) -> Iterator[tuple[CompiledRoute, Converted]]:
    """The rules of the routes that are in force on a Gateway, for each of its ports."""
    for port, hosts in model.hosts.items():
        for route in {id(route): route for host in hosts for route in host.routes}.values():
            yield route, gateway_rules(memo, route, port, model.name)


def _subset_uses(memo: Memo, model: GatewayModel) -> Iterator[tuple[CompiledRoute, SubsetUse]]:
    for route, converted in _converted(memo, model):
        for use in converted.subsets:
            yield route, use


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
    known = [other.rpartition("/")[2] for other in declared.listeners if other.startswith(f"{namespace}/")]
    message = f"there is no Gateway '{name}' in namespace '{namespace}'"
    near = nearest_name(name, known)
    expected = "the name of a Gateway"
    return problem_at(route.document, path, "unknown-gateway", message, expected, nearest=near)


def _wider(host: str, won: Mapping[str, Routes]) -> tuple[Routes, ...]:
    """Routes of hosts that cover `host`, the most specific first. A route that shares with nobody stands alone."""
    if any(route.kind.exclusive for route in won[host]):
        return ()
    covering = [other for other in won if other != host and is_wildcard(other) and covers(other, host)]
    groups = [won[other] for other in sorted(covering, key=specificity, reverse=True)]
    return tuple(group for group in groups if group and not group[0].kind.exclusive)
