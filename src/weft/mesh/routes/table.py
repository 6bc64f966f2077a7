"""The route table of the mesh side: the rules of every host, by the namespace whose documents give them.

A namespace's documents concern everybody's calls to its own services, and only its own callers' calls to anything else:
for these callers they take the place of the service's own documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules, subset_of
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.claims import carries
from weft.mesh.routes.compiled import CompiledRoute, attempt_of, compile_route
from weft.mesh.routes.connections import ConnectionRule
from weft.mesh.routes.kind import Layer, RouteDocument, SubsetUse
from weft.mesh.routes.ownership import Contender, Lost, conflict, decide, routes_of
from weft.mesh.routes.precedence import merge_by_precedence
from weft.mesh.routes.reach import crowded_out
from weft.mesh.routes.rules import EVERYBODY, Rule, SourceMatch
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.exports import ALL_NAMESPACES, Exports, is_exported
from weft.mesh.services.hosts import HTTP_PORT, best_match
from weft.mesh.services.service import Frontend, FrontendPort
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, is_wildcard
from weft.schema.wording import nearest_name


@dataclass(frozen=True, slots=True, eq=False)
class HostRules:
    """The rules that one namespace's documents give a host (full name, wildcard, or a host outside), by service port:
    those for requests (`ports`) and those for `connections`; a port without a document in force is not there.
    `conditional`: some are for some callers only; `lost`: what documents do not get; `problems`: rules that those of
    other documents hide; `exports`: the namespaces whose callers all of it is for, `oldest` the precedence of the first
    of its documents. Compared by identity."""

    namespace: str
    host: str
    ports: Mapping[int, tuple[Rule, ...]]
    connections: Mapping[int, tuple[ConnectionRule, ...]]
    conditional: bool = False
    lost: tuple[Lost, ...] = ()
    problems: tuple[Problem, ...] = ()
    exports: Exports = ALL_NAMESPACES
    oldest: tuple[float, str] = (0.0, "")


@dataclass(frozen=True, slots=True, eq=False)
class NamespaceRoutes:
    """All that one namespace's documents route; `restricted`: not all of it is for everybody. Compared by identity."""

    hosts: Mapping[str, HostRules]
    wildcards: tuple[str, ...] = ()
    outside: tuple[HostRules, ...] = ()
    restricted: tuple[HostRules, ...] = ()

    def seen_by(self, caller: str) -> NamespaceRoutes:
        """What of it is for callers in a namespace (empty: for those of all)."""
        if not any(each.exports for each in self.restricted):
            return self
        hosts = _oldest(each for each in self.restricted if is_exported(each.exports, caller))
        named = {each.host for each in self.outside}
        return NamespaceRoutes(
            hosts=hosts,
            wildcards=tuple(host for host in hosts if is_wildcard(host)),
            outside=tuple(each for host, each in hosts.items() if host in named),
        )

    def covering(self, host: str) -> HostRules | None:
        """The rules of the longest wildcard that covers the host."""
        pattern = best_match(self.wildcards, host) if self.wildcards else None
        return self.hosts[pattern] if pattern is not None else None

    @property
    def outside_hosts(self) -> tuple[str, ...]:
        """The hosts outside the mesh that documents route, wildcards among them."""
        return tuple(rules.host for rules in self.outside)


def _oldest(found: Iterable[HostRules]) -> Mapping[str, HostRules]:
    """One for each host, that of the oldest document."""
    hosts: dict[str, HostRules] = {}
    for each in sorted(found, key=lambda one: (one.host, *one.oldest)):
        hosts.setdefault(each.host, each)
    return MappingProxyType(hosts)


NO_ROUTES = NamespaceRoutes(MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """All routes. `selectors` are the source labels any rule asks for, sorted; `conditional` the services whose own
    namespace has rules for some callers only; `subsets` those that rules send to, by the service's full name. Compared
    by identity."""

    routes: tuple[CompiledRoute, ...]
    namespaces: Mapping[str, NamespaceRoutes]
    selectors: tuple[Labels, ...]
    conditional: tuple[str, ...]
    subsets: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...]
    lost: tuple[Lost, ...]

    def of(self, namespace: str) -> NamespaceRoutes:
        """What the documents of a namespace route."""
        return self.namespaces.get(namespace, NO_ROUTES)

    def seen(self, namespace: str, caller: str) -> NamespaceRoutes:
        """What of it is for callers in a namespace (empty: for those of all)."""
        found = self.of(namespace)
        return found.seen_by(caller) if found.restricted else found


def build_route_table(
    documents: tuple[RouteDocument, ...], memo: Memo, catalog: Catalog, grants: Grants, defaults: TrafficDefaults
) -> RouteTable:
    """The table of all route documents. A document that changes costs its hosts, not all of them."""
    routes = memo.rows(compile_route, (documents,), catalog, grants, defaults)
    claimed = memo.groups(_claimed, _order, routes)
    keys = tuple(claimed)
    frontends = [catalog.by_host.get(host) for _, host, _ in keys]
    hosts = memo.rows(build_host_rules, (keys, tuple(claimed.values()), frontends))
    spaces = memo.groups(_namespace, _host, hosts)
    problems = [problem for route in routes for problem in _problems(route)]
    problems += [problem for host in hosts if host.problems for problem in host.problems]
    lost = tuple([one for host in hosts if host.lost for one in host.lost])
    return RouteTable(
        routes=routes,
        namespaces=MappingProxyType(
            {name: memo.over(_namespace_routes, found, catalog) for name, found in spaces.items()}
        ),
        selectors=tuple(sorted({selector for route in routes for selector in route.selectors})),
        conditional=tuple(
            host for each in hosts if each.conditional or each.exports for host in _services_of(each, catalog)
        ),
        subsets=memo.over(build_subsets, routes, memo),
        problems=tuple(dict.fromkeys((*problems, *(one.problem for one in lost)))),
        lost=lost,
    )


def build_host_rules(
    memo: Memo, key: tuple[str, str, Exports], routes: tuple[CompiledRoute, ...], frontend: Frontend | None
) -> HostRules:
    """The rules that the documents of a namespace give a host, and who of them does not get it."""
    namespace, host, exports = key
    wanted = {port for route in routes for port in route.ports}
    numbers = [port.number for port in frontend.ports] if frontend else sorted(wanted)
    contest = _Contest(routes, host)
    ports: dict[int, tuple[Rule, ...]] = {}
    connections: dict[int, tuple[ConnectionRule, ...]] = {}
    merges = False
    for number in numbers:
        port = frontend.port(number) if frontend else None
        if winners := contest.winners(number, port, "requests"):
            parts = [route.rules[number] for route in winners]
            ports[number] = parts[0].rules if len(parts) == 1 else memo.over(merge_by_precedence, parts)
            merges = merges or len(parts) > 1
        if winners := contest.winners(number, port, "connections"):
            connections[number] = memo.over(_joined, [route.connections[number].rules for route in winners])
    sources = (*(rule.source for rules in ports.values() for rule in rules), *_sources(connections.values()))
    conditional = any(source != EVERYBODY for source in sources)
    hidden = memo(crowded_problems, routes, tuple(ports.values()), f"inside the mesh for '{host}'") if merges else ()
    found = (tuple(ports.items()), tuple(connections.items()))
    oldest = min(route.document.precedence for route in routes)
    return memo(_host_rules, namespace, host, *found, conditional, contest.lost(), hidden, exports, oldest)


@dataclass(slots=True)
class _Contest:
    """Who gets a host, port by port, and who has got nothing of it."""

    routes: tuple[CompiledRoute, ...]
    host: str
    beaten: dict[Contender, Problem] = field(default_factory=dict)
    attached: set[Contender] = field(default_factory=set)

    def winners(self, number: int, port: FrontendPort | None, layer: Layer) -> tuple[CompiledRoute, ...]:
        """The routes that give a port its rules of a layer, in the order of their precedence."""
        if port is not None and not carries(port, layer):
            return ()
        contenders = [
            (route, claim.path)
            for route in self.routes
            for claim in route.claims_of(self.host)
            if claim.port in (0, number) and number in (route.rules if layer == "requests" else route.connections)
        ]
        winners, losers = decide(contenders, at_gateway=False)
        self.attached.update(winners)
        for loser in losers:
            self.beaten.setdefault(loser, conflict(loser, winners[0], self.host))
        return routes_of(winners)

    def lost(self) -> tuple[Lost, ...]:
        """What the others do not get."""
        return tuple(
            Lost(loser[0].document.key, loser[1], self.host, problem, entirely=loser not in self.attached)
            for loser, problem in self.beaten.items()
        )


def _joined(parts: tuple[tuple[ConnectionRule, ...], ...]) -> tuple[ConnectionRule, ...]:
    return tuple([rule for part in parts for rule in part])


def _sources(every: Iterable[tuple[ConnectionRule, ...]]) -> Iterable[SourceMatch]:
    return (rule.source for rules in every for rule in rules)


def _host_rules(
    namespace: str,
    host: str,
    ports: tuple[tuple[int, tuple[Rule, ...]], ...],
    connections: tuple[tuple[int, tuple[ConnectionRule, ...]], ...],
    conditional: bool,
    lost: tuple[Lost, ...],
    problems: tuple[Problem, ...],
    exports: Exports,
    oldest: tuple[float, str],
) -> HostRules:
    by_port, carried = MappingProxyType(dict(ports)), MappingProxyType(dict(connections))
    return HostRules(namespace, host, by_port, carried, conditional, lost, problems, exports, oldest)


def crowded_problems(
    routes: tuple[CompiledRoute, ...], ports: tuple[tuple[Rule, ...], ...], where: str
) -> tuple[Problem, ...]:
    """Rules of a host that are hidden by those of other documents on each of the `ports` on which they stand."""
    by_key = {route.document.key: route for route in routes}
    lists = [tuple([attempt_of(by_key, rule) for rule in rules if rule.object in by_key]) for rules in ports]
    return crowded_out(lists, [problem for route in routes for problem in route.unreachable], where)


def _services_of(rules: HostRules, catalog: Catalog) -> Iterable[str]:
    """The services of the same namespace that the rules are for."""
    frontends = catalog.by_namespace.get(rules.namespace, ())
    return (frontend.host for frontend in frontends if covers(rules.host, frontend.host))


def _namespace_routes(found: tuple[HostRules, ...], catalog: Catalog) -> NamespaceRoutes:
    hosts = {each.host: each for each in found}
    return NamespaceRoutes(
        hosts=_oldest(found) if any(each.exports for each in found) else MappingProxyType(hosts),
        wildcards=tuple(each.host for each in found if is_wildcard(each.host)),
        outside=tuple(
            each
            for each in found
            if each.host != "*"
            and each.host not in catalog.by_host
            and (HTTP_PORT in each.ports or (each.connections and not is_wildcard(each.host)))
        ),
        restricted=found if any(each.exports for each in found) else (),
    )


def subset_problems(
    memo: Memo, table: RouteTable, catalog: Catalog, rules: DestinationRules
) -> tuple[tuple[Problem, ...], ...]:
    """For each route, subsets that its rules send to and that no DestinationRule in force for its namespace defines."""
    return memo.rows(_subset_problems, (table.routes,), catalog, rules)


def _subset_problems(
    _memo: Memo, route: CompiledRoute, catalog: Catalog, rules: DestinationRules
) -> tuple[Problem, ...]:
    uses = dict.fromkeys(use for converted in route.converted() for use in converted.subsets)
    return tuple(bad for use in uses if (bad := subset_problem(route.document, use, catalog, rules)) is not None)


def subset_problem(
    document: RouteDocument, use: SubsetUse, catalog: Catalog, rules: DestinationRules
) -> Problem | None:
    """What is wrong with a subset that a rule sends to."""
    frontend = catalog.by_host[use.host]
    rule = rules.find(document.key.namespace, frontend)
    if subset_of(rule, use.subset) is not None:
        return None
    names = [subset.name for subset in rule.spec.subsets] if rule else []
    return problem_at(
        document,
        use.path,
        "unknown-subset",
        f"no DestinationRule for {frontend.key} has a subset '{use.subset}'; requests sent there get 503",
        one_of(names, "a DestinationRule of that host with this subset"),
        nearest=nearest_name(use.subset, names),
    )


def build_subsets(routes: tuple[CompiledRoute, ...], memo: Memo) -> Mapping[str, tuple[str, ...]]:
    """The subsets that rules of any document send to, by the service's full name."""
    users = memo.groups(_subset_hosts, _order, routes)
    found = memo.rows(_subset_names, (tuple(users), tuple(users.values())))
    return memo.over(_subset_table, found)


def _subset_hosts(route: CompiledRoute) -> Iterable[str]:
    return dict.fromkeys(host for host, _ in route.subsets)


def _subset_names(memo: Memo, host: str, routes: tuple[CompiledRoute, ...]) -> tuple[str, tuple[str, ...]]:
    names = {subset for route in routes for service, subset in route.subsets if service == host}
    return memo(_host_and_names, host, tuple(sorted(names)))


def _host_and_names(host: str, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return host, names


def _subset_table(found: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType(dict(found))


def _problems(route: CompiledRoute) -> Iterable[Problem]:
    yield from route.claims.problems
    yield from route.unreachable
    for converted in route.converted():
        yield from converted.problems


def _claimed(route: CompiledRoute) -> Iterable[tuple[str, str, Exports]]:
    namespace = route.document.key.namespace
    return dict.fromkeys((namespace, claim.host, route.exports) for claim in route.claims.claims)


def _order(route: CompiledRoute) -> tuple[float, str, str]:
    return (*route.document.precedence, route.document.key.kind)


def _namespace(rules: HostRules) -> tuple[str, ...]:
    return (rules.namespace,)


def _host(rules: HostRules) -> str:
    return rules.host
