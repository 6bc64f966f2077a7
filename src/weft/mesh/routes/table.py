"""The route table of the mesh side: the rules of every host, by the namespace whose documents give them.

A namespace's documents concern everybody's calls to its own services, and only its own callers' calls to anything else:
for these callers they take the place of the service's own documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules, subset_of
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.compiled import CompiledRoute, attempt_of, compile_route
from weft.mesh.routes.kind import RouteDocument, SubsetUse
from weft.mesh.routes.ownership import Contender, Lost, conflict, decide, routes_of
from weft.mesh.routes.precedence import merge_by_precedence
from weft.mesh.routes.reach import crowded_out
from weft.mesh.routes.rules import EVERYBODY, Rule
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT, best_match
from weft.mesh.services.service import Frontend
from weft.model.labels import Labels
from weft.model.problem import Problem
from weft.schema.hosts import covers, is_wildcard
from weft.schema.wording import nearest_name


@dataclass(frozen=True, slots=True, eq=False)
class HostRules:
    """The rules that one namespace's documents give a host (full name, wildcard, or a host outside), by service port; a
    port without a document in force is not there. `conditional`: some are for some callers only; `lost`: what
    documents do not get; `problems`: rules that those of other documents hide. Compared by identity."""

    namespace: str
    host: str
    ports: Mapping[int, tuple[Rule, ...]]
    conditional: bool = False
    lost: tuple[Lost, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class NamespaceRoutes:
    """All that one namespace's documents route. Compared by identity."""

    hosts: Mapping[str, HostRules]
    wildcards: tuple[str, ...] = ()
    outside: tuple[HostRules, ...] = ()

    def covering(self, host: str) -> HostRules | None:
        """The rules of the longest wildcard that covers the host."""
        pattern = best_match(self.wildcards, host) if self.wildcards else None
        return self.hosts[pattern] if pattern is not None else None

    @property
    def outside_hosts(self) -> tuple[str, ...]:
        """The hosts outside the mesh that documents route, wildcards among them."""
        return tuple(rules.host for rules in self.outside)


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


def build_route_table(
    documents: tuple[RouteDocument, ...], memo: Memo, catalog: Catalog, grants: Grants, defaults: TrafficDefaults
) -> RouteTable:
    """The table of all route documents. A document that changes costs its hosts, not all of them."""
    routes = memo.rows(compile_route, (documents,), catalog, grants, defaults)
    claimed = memo.groups(_claimed, _order, routes)
    keys = tuple(claimed)
    frontends = [catalog.by_host.get(host) for _, host in keys]
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
        conditional=tuple(host for each in hosts if each.conditional for host in _services_of(each, catalog)),
        subsets=memo.over(build_subsets, routes, memo),
        problems=tuple(dict.fromkeys((*problems, *(one.problem for one in lost)))),
        lost=lost,
    )


def build_host_rules(
    memo: Memo, key: tuple[str, str], routes: tuple[CompiledRoute, ...], frontend: Frontend | None
) -> HostRules:
    """The rules that the documents of a namespace give a host, and who of them does not get it."""
    namespace, host = key
    wanted = {port for route in routes for port in route.rules}
    numbers = [port.number for port in frontend.ports] if frontend else sorted(wanted)
    ports: dict[int, tuple[Rule, ...]] = {}
    problems: dict[Contender, Problem] = {}
    attached: set[Contender] = set()
    merges = False
    for number in numbers:
        contenders = [
            (route, claim.path)
            for route in routes
            for claim in route.claims_of(host)
            if claim.port in (0, number) and number in route.rules
        ]
        winners, losers = decide(contenders, at_gateway=False)
        if winners:
            parts = [route.rules[number] for route in routes_of(winners)]
            ports[number] = parts[0].rules if len(parts) == 1 else memo.over(merge_by_precedence, parts)
            merges = merges or len(parts) > 1
        attached.update(winners)
        for loser in losers:
            problems.setdefault(loser, conflict(loser, winners[0], host))
    conditional = any(rule.source != EVERYBODY for rules in ports.values() for rule in rules)
    lost = tuple(
        Lost(loser[0].document.key, loser[1], host, problem, entirely=loser not in attached)
        for loser, problem in problems.items()
    )
    hidden = memo(crowded_problems, routes, tuple(ports.values()), f"inside the mesh for '{host}'") if merges else ()
    return memo(_host_rules, namespace, host, tuple(ports.items()), conditional, lost, hidden)


def _host_rules(
    namespace: str,
    host: str,
    ports: tuple[tuple[int, tuple[Rule, ...]], ...],
    conditional: bool,
    lost: tuple[Lost, ...],
    problems: tuple[Problem, ...],
) -> HostRules:
    return HostRules(namespace, host, MappingProxyType(dict(ports)), conditional, lost, problems)


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
    return NamespaceRoutes(
        hosts=MappingProxyType({each.host: each for each in found}),
        wildcards=tuple(each.host for each in found if is_wildcard(each.host)),
        outside=tuple(
            each for each in found if each.host != "*" and each.host not in catalog.by_host and HTTP_PORT in each.ports
        ),
    )


def subset_problems(
    memo: Memo, table: RouteTable, catalog: Catalog, rules: DestinationRules
) -> tuple[tuple[Problem, ...], ...]:
    """For each route, subsets that its rules send to and that no DestinationRule in force for its namespace defines."""
    return memo.rows(_subset_problems, (table.routes,), catalog, rules)


def _subset_problems(
    _memo: Memo, route: CompiledRoute, catalog: Catalog, rules: DestinationRules
) -> tuple[Problem, ...]:
    uses = dict.fromkeys(use for converted in route.rules.values() for use in converted.subsets)
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
    for converted in route.rules.values():
        yield from converted.problems


def _claimed(route: CompiledRoute) -> Iterable[tuple[str, str]]:
    namespace = route.document.key.namespace
    return dict.fromkeys((namespace, claim.host) for claim in route.claims.claims)


def _order(route: CompiledRoute) -> tuple[float, str, str]:
    return (*route.document.precedence, route.document.key.kind)


def _namespace(rules: HostRules) -> tuple[str, ...]:
    return (rules.namespace,)


def _host(rules: HostRules) -> str:
    return rules.host
