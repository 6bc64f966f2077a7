"""Gateways: which routes are in force on each port and host of what a gateway proxy serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.gateways.attachment import Attachment, attach, owns
from weft.mesh.gateways.declared import Declared, DeclaredGateway
from weft.mesh.gateways.listeners import Listener
from weft.mesh.gateways.serving import Served, Server, build_served, set_problems
from weft.mesh.gateways.taken import idle_rules, references_of_route, take_route
from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.problems import problem_at
from weft.mesh.routes.acceptance import Parents, by_route
from weft.mesh.routes.compiled import CompiledRoute, gateway_rules
from weft.mesh.routes.kind import Converted, ParentRef, RouteDocument
from weft.mesh.routes.ownership import Contender, Lost, Refused, conflict, crossing, decide
from weft.mesh.routes.precedence import merge_by_precedence
from weft.mesh.routes.table import RouteTable, crowded_problems
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import specificity
from weft.mesh.views import Certificate
from weft.model.document import ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import covers, is_wildcard
from weft.schema.wording import nearest_name

Attached = tuple[CompiledRoute, str]
"""A route, and the Gateway (``namespace/name``) by which it is attached: some rules are for some Gateways only."""
Routes = tuple[Attached, ...]


@dataclass(frozen=True, slots=True)
class GatewayHost:
    """A host of what is served as `server` (empty: all that comes without TLS): the routes in force on it, and, after
    their rules, those of ever wider hosts of the same listener, whose rules a request may still match (Gateway API's
    host precedence). Where it `redirects`, every request is sent on to HTTPS instead."""

    host: str
    server: str
    routes: Routes
    wider: tuple[Routes, ...] = ()
    redirects: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class GatewayModel:
    """What one gateway proxy serves, named ``namespace/name``: the documents `keys`, their listeners in force and the
    hosts of each port; `lost` are the hosts that routes do not get, `problems` tell of rules that those of other
    documents hide; `client` is the certificate that it shows to servers that it calls. Compared by identity."""

    name: str
    keys: tuple[ObjectKey, ...]
    listeners: tuple[Listener, ...]
    hosts: Mapping[int, tuple[GatewayHost, ...]]
    lost: tuple[Lost, ...] = ()
    problems: tuple[Problem, ...] = ()
    client: Certificate | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Gateways:
    """All that gateway proxies serve by ``namespace/name``, what each Gateway document is by itself, how many routes
    each of its listeners has let in (by the listener's name), and for each route how its references to Gateways were
    taken."""

    by_name: Mapping[str, GatewayModel]
    declared: Mapping[ObjectKey, DeclaredGateway]
    attached: Mapping[ObjectKey, Mapping[str, int]]
    parents: tuple[Parents, ...]
    problems: tuple[Problem, ...] = ()


def build_gateways(
    memo: Memo,
    declared: Declared,
    table: RouteTable,
    catalog: Catalog,
    rules: DestinationRules,
    servers: tuple[Server, ...] = (),
) -> Gateways:
    """Every Gateway of ours, with the routes attached to it, as the processes `servers` serve them."""
    routes = table.routes
    documents = [route.document for route in routes]
    found = memo.rows(attach_route, (documents, routes), declared)
    attachments = tuple([attachment for each in found if each for attachment in each])
    every = declared.every()
    by_gateway: dict[ObjectKey, list[Attachment]] = {each.key: [] for each in every}
    for attachment in attachments:
        if attachment.listeners and attachment.gateway is not None:
            by_gateway[attachment.gateway.key].append(attachment)
    served = memo(build_served, memo, declared, servers)
    models = {
        each.name: memo.over(build_gateway, [one for of in each.gateways for one in by_gateway[of.key]], each, memo)
        for each in served
    }
    lost = tuple([one for model in models.values() for one in model.lost])
    referred = memo.rows(references_of_route, (documents, routes, found))
    taken = memo.rows(take_route, (documents, routes, found, referred, by_route(routes, lost)), catalog, rules)
    problems = [*declared.problems, *set_problems(declared), *(one for each in served for one in each.problems)]
    problems += [*(each.problem for each in attachments if each.problem is not None)]
    problems += [problem for each in memo.rows(mention_problems, (routes,), declared) if each for problem in each]
    problems += [one.problem for one in lost]
    problems += [problem for model in models.values() for problem in model.problems]
    idle = memo.rows(idle_rules, (documents, routes, found), catalog)
    problems += [problem for each in idle if each for problem in each]
    problems += [problem for each in taken if each.problems for problem in each.problems]
    return Gateways(
        by_name=MappingProxyType(models),
        declared=MappingProxyType({each.key: each for each in every}),
        attached=MappingProxyType({each.key: _attached(each, by_gateway[each.key]) for each in every}),
        parents=tuple([each.parents for each in taken]),
        problems=tuple(dict.fromkeys(problems)),
    )


def attach_route(
    _memo: Memo, _document: RouteDocument, route: CompiledRoute, declared: Declared
) -> tuple[Attachment, ...]:
    """How each reference of a route to a Gateway is taken. Other controllers' Gateways are left alone."""
    found: list[Attachment] = []
    for parent in route.parents:
        if parent.kind == "ListenerSet":
            gateway = declared.sets.get(parent.gateway)
        else:
            gateway = declared.find(parent.gateway, selecting=parent.selecting)
        if gateway is not None:
            found.append(attach(route, parent, gateway, declared.labels))
        elif parent.kind == "ListenerSet":
            found.append(Attachment(route, parent, problem=_unknown_set(route, parent, declared)))
        elif parent.gateway not in declared.foreign:
            found.append(Attachment(route, parent, problem=_unknown(route, parent.gateway, parent.path, declared)))
    return tuple(found)


def mention_problems(_memo: Memo, route: CompiledRoute, declared: Declared) -> tuple[Problem, ...]:
    """Gateways that the rules of a route name and that do not exist."""
    mentioned = route.kind.mentioned(route.document)
    known = {*declared.gateways, *declared.selecting, *declared.foreign} if mentioned else ()
    return tuple(_unknown(route, name, path, declared) for name, path in mentioned if name not in known)


@dataclass(slots=True)
class _Wish:
    """Who wants a host of a server, and by which listeners; lives only within `build_gateway`. `isolated` is the
    hostname of the listener whose routes do not mix with those of others."""

    isolated: str
    contenders: dict[Contender, list[Listener]] = field(default_factory=dict)
    redirects: bool = False


def build_gateway(attachments: tuple[Attachment, ...], served: Served, memo: Memo) -> GatewayModel:
    """What is served together: the hosts of each port, and the routes that have them."""
    listeners = served.listeners
    wishes = _wishes(attachments, listeners)
    hosts: dict[int, list[GatewayHost]] = {listener.port: [] for listener in listeners}
    lost: dict[Lost, None] = {}
    uses: dict[str, list[tuple[int, Routes]]] = {}
    groups: dict[tuple[int, str, str], dict[str, Routes]] = {}
    crossed = _crossed(wishes)
    for (port, server, host), wish in wishes.items():
        refused = crossed.get((port, server, wish.isolated), {})
        winners, losers = decide(wish.contenders, at_gateway=True, refused=refused)
        routes = _routes(winners, wish)
        groups.setdefault((port, server, wish.isolated), {})[host] = routes
        if routes:
            uses.setdefault(host, []).append((port, routes))
        for loser in losers:
            winner = refused.get(loser[0].document.key) or winners[0]
            problem, behind = conflict(loser, winner, host), winner[0].kind is loser[0].kind
            for listener in wish.contenders[loser]:
                where = (listener.gateway, listener.name)
                lost[Lost(loser[0].document.key, loser[1], host, problem, where, behind=behind)] = None
    for (port, server, _), won in groups.items():
        wildcards = sorted(filter(is_wildcard, won), key=specificity, reverse=True)
        hosts[port] += [
            memo(GatewayHost, host, server, routes, _wider(host, won, wildcards), wishes[port, server, host].redirects)
            for host, routes in won.items()
        ]
    return GatewayModel(
        name=served.name,
        keys=tuple(each.key for each in served.gateways),
        listeners=listeners,
        hosts=MappingProxyType(
            {port: tuple(sorted(found, key=lambda each: each.host)) for port, found in hosts.items()}
        ),
        lost=tuple(lost),
        problems=tuple(
            problem
            for host, ports in uses.items()
            if any(len(routes) > 1 for _, routes in ports)
            for problem in memo(_crowded, memo, served.name, host, tuple(ports))
        ),
        client=next((each.client for each in served.gateways if each.client is not None), None),
    )


def _wishes(attachments: Sequence[Attachment], listeners: Sequence[Listener]) -> dict[tuple[int, str, str], _Wish]:
    """By port, server and host. The own host of an isolated listener is there whether a route wants it or not: no
    other one answers for it."""
    by_listener: dict[str, list[tuple[str, Contender]]] = {listener.server: [] for listener in listeners}
    for attachment in attachments:
        for listener, host, contender in attachment.hosts:
            if listener.server in by_listener:
                by_listener[listener.server].append((host, contender))
    wishes: dict[tuple[int, str, str], _Wish] = {}
    for listener in listeners:
        server = "" if listener.plain else listener.server
        isolated = listener.hosts[0].hostname if listener.isolated else ""
        for host, contender in by_listener[listener.server]:
            if not owns(listeners, listener, host):
                continue
            wish = wishes.setdefault((listener.port, server, host), _Wish(isolated))
            wish.contenders.setdefault(contender, []).append(listener)
            wish.redirects |= listener.redirects
        if listener.isolated or listener.redirects:
            for hostname in listener.hostnames:
                wish = wishes.setdefault((listener.port, server, hostname), _Wish(isolated))
                wish.redirects |= listener.redirects
    return wishes


def _crossed(wishes: Mapping[tuple[int, str, str], _Wish]) -> dict[tuple[int, str, str], Refused]:
    """The routes that are not taken because one of another kind is, by port, server and isolated listener."""
    wanted: dict[tuple[int, str, str], list[tuple[str, Contender]]] = {}
    for (port, server, host), wish in wishes.items():
        wanted.setdefault((port, server, wish.isolated), []).extend((host, one) for one in wish.contenders)
    return {place: refused for place, found in wanted.items() if (refused := crossing(found))}


def _routes(winners: Sequence[Contender], wish: _Wish) -> Routes:
    """The routes that have a host, each once for the Gateways by which they have it, where their rules may differ."""
    found: dict[int, dict[str, Attached]] = {}
    for contender in winners:
        route = contender[0]
        gateways = found.setdefault(id(route), {})
        for listener in wish.contenders[contender]:
            if not gateways or route.kind.mentioned(route.document):
                gateways.setdefault(listener.gateway, (route, listener.gateway))
    return tuple([attached for gateways in found.values() for attached in gateways.values()])


def rules_of(memo: Memo, attached: Attached, port: int) -> Converted:
    """The rules of an attached route on a port."""
    route, gateway = attached
    return gateway_rules(memo, route, port, gateway)


def _crowded(memo: Memo, gateway: str, host: str, uses: tuple[tuple[int, Routes], ...]) -> tuple[Problem, ...]:
    """Rules that those of other documents hide, wherever these share a host: `uses` are the ports and the routes."""
    every = tuple({id(route): route for _, routes in uses for route, _ in routes}.values())
    parts = [[rules_of(memo, each, port) for each in routes] for port, routes in uses]
    merged = [merge_by_precedence(each, one_caller=False) for each in parts]
    hosts = "every host" if host == "*" else f"'{host}'"
    return crowded_problems(every, tuple(merged), f"at Gateway {gateway} for {hosts}")


def _attached(gateway: DeclaredGateway, attachments: Sequence[Attachment]) -> Mapping[str, int]:
    """How many routes each listener has let in (the API's attachedRoutes), whether they get a host there or not."""
    routes: dict[str, set[ObjectKey]] = {each.name: set() for each in (*gateway.listeners, *gateway.waiting)}
    for attachment in attachments:
        for name in attachment.listeners:
            routes[name].add(attachment.route.document.key)
    return MappingProxyType({name: len(found) for name, found in routes.items()})


def _unknown_set(route: CompiledRoute, parent: ParentRef, declared: Declared) -> Problem:
    namespace, _, name = parent.gateway.rpartition("/")
    known = [other.rpartition("/")[2] for other in declared.sets if other.startswith(f"{namespace}/")]
    message = f"there is no ListenerSet '{name}' in namespace '{namespace}'"
    near = nearest_name(name, known)
    return problem_at(
        route.document, parent.path, "unknown-gateway", message, "the name of a ListenerSet", nearest=near
    )


def _unknown(route: CompiledRoute, gateway: str, path: FieldPath, declared: Declared) -> Problem:
    namespace, _, name = gateway.rpartition("/")
    if gateway in declared.selecting:
        message = f"Gateway '{name}' is of networking.istio.io: VirtualServices attach to it, {route.kind.kind}s do not"
        expected = "a Gateway of gateway.networking.k8s.io"
        return problem_at(route.document, path, "unknown-gateway", message, expected)
    if gateway in declared.refused:
        message = f"Gateway '{name}' ({declared.refused[gateway]}) has errors, so it is not in force"
        return problem_at(route.document, path, "unknown-gateway", message, severity=Severity.WARNING)
    names = (*declared.gateways, *(declared.selecting if route.kind.exclusive else ()))
    known = [other.rpartition("/")[2] for other in names if other.startswith(f"{namespace}/")]
    message = f"there is no Gateway '{name}' in namespace '{namespace}'"
    near = nearest_name(name, known)
    expected = "the name of a Gateway"
    return problem_at(route.document, path, "unknown-gateway", message, expected, nearest=near)


def _wider(host: str, won: Mapping[str, Routes], wildcards: Sequence[str]) -> tuple[Routes, ...]:
    """Routes of those `wildcards` (the most specific first) that cover `host`. An exclusive kind has none."""
    if any(route.kind.exclusive for route, _ in won[host]):
        return ()
    groups = [won[other] for other in wildcards if other != host and covers(other, host)]
    return tuple(group for group in groups if group and not group[0][0].kind.exclusive)
