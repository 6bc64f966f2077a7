"""Outbound: by which rules the sidecars of one namespace and source class reach every service.

What most callers share is made once: how those of other namespaces reach a service (`common`). A class of callers has
entries of its own only for the services of its namespace (their short names), those that its namespace's documents
route, and those with rules for some callers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import TrafficDefaults, with_defaults
from weft.mesh.routes.connections import (
    ConnectionRule,
    Connections,
    Layer4Route,
    WeightedTarget,
    connections_of,
    rules_for_callers,
)
from weft.mesh.routes.rules import Forward, RequestMatch, Rule, VirtualHost, WeightedBackend
from weft.mesh.routes.table import NO_ROUTES, HostRules, RouteTable
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT, caller_domains, literal_domains
from weft.mesh.services.service import BackendKey, Frontend, FrontendPort, Protocol
from weft.mesh.services.turning import carries_requests, is_apart
from weft.mesh.sidecars.refusals import wrong_port
from weft.mesh.views import OutboundView, Refusal, Tunnel
from weft.model.labels import Labels


class Caller(NamedTuple):
    """A class of callers: their namespace, and which of the source selectors in use they match."""

    namespace: str
    selectors: tuple[Labels, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """How callers reach one service (or host outside): its virtual hosts and tunnels, and the backends these need;
    `mirrors` are those that get copies, `carried` those to which connections are carried as they are though their ports
    may speak HTTP, `refusals` the answers at ports that it does not have: callers of other namespaces have none, so
    that a large mesh does not pay for them. `undetected` says of ports of which nobody knows what they speak where what
    is not HTTP goes, if documents do. Compared by identity."""

    host: str
    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    backends: tuple[BackendKey, ...]
    mirrors: tuple[BackendKey, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    carried: tuple[BackendKey, ...] = ()
    undetected: tuple[tuple[int, Connections], ...] = ()

    def connections(self, port: int) -> Connections | None:
        """Where connections to a port go; None if no document says it."""
        found = ((tunnel.port, tunnel.connections) for tunnel in self.tunnels)
        return next((each for number, each in (*found, *self.undetected) if number == port), None)


@dataclass(frozen=True, slots=True, eq=False)
class Outbound:
    """A view, and the backends that it needs; `mirrors` are those that get copies, `carried` those to which connections
    are carried as they are. Compared by identity."""

    view: OutboundView
    backends: tuple[BackendKey, ...]
    mirrors: tuple[BackendKey, ...]
    carried: tuple[BackendKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CallerRoutes:
    """How one class of callers reaches every service, and hosts that are no services. Compared by identity."""

    common: Mapping[str, Entry]
    own: Mapping[str, Entry]
    outside: tuple[Entry, ...]

    def entries(self, hosts: Iterable[str]) -> list[Entry]:
        """The entries of these services (full names), then those of hosts outside."""
        own, common = self.own, self.common
        found = [own[host] if host in own else common[host] for host in hosts]
        return [*found, *self.outside]


def build_common(memo: Memo, table: RouteTable, catalog: Catalog, defaults: TrafficDefaults) -> Mapping[str, Entry]:
    """How callers of other namespaces reach each service, by full name."""
    seen = {namespace: table.seen(namespace, "") for namespace in catalog.by_namespace}
    spaces = [seen[frontend.namespace] for frontend in catalog.frontends]
    pairs = list(zip(spaces, catalog.hosts, strict=True))
    named = [space.hosts.get(host) for space, host in pairs]
    covering = [space.covering(host) if space.wildcards else None for space, host in pairs]
    entries = memo.rows(_common_entry, (catalog.frontends, named, covering), defaults)
    return memo.table(_by_host, entries)


def build_caller_routes(
    memo: Memo,
    table: RouteTable,
    catalog: Catalog,
    common: Mapping[str, Entry],
    defaults: TrafficDefaults,
    namespace: str,
    selectors: tuple[Labels, ...],
) -> CallerRoutes:
    """How the callers of a namespace that match exactly these source selectors reach everything."""
    space = table.seen(namespace, namespace)
    frontends = _special(table, catalog, namespace)
    hosts = [frontend.host for frontend in frontends]
    spaces = {each.namespace for each in frontends} - {namespace}
    seen = {each: table.seen(each, namespace) for each in spaces}
    others = [seen.get(each.namespace, NO_ROUTES) for each in frontends]
    pairs = list(zip(others, hosts, strict=True))
    columns = (
        [space.hosts.get(host) for host in hosts],
        [other.hosts.get(host) for other, host in pairs],
        [space.covering(host) for host in hosts] if space.wildcards else [None] * len(hosts),
        [other.covering(host) if other.wildcards else None for other, host in pairs],
    )
    name = f"{namespace} {selectors}"
    own = memo.rows(_caller_entry, (frontends, *columns), defaults, namespace, selectors, name=name)
    outside = memo.rows(_outside_entry, (space.outside,), namespace, selectors, name=name)
    return CallerRoutes(common, memo.table(_by_host, own, name=name), outside)


def build_outbound(
    entries: tuple[Entry, ...],
    allow_any: bool,
    on_demand: bool,
    connect_timeout: float | None = None,
    refused: tuple[Refusal, ...] = (),
    by_address: bool = False,
) -> Outbound:
    """The view of callers with these entries, and the backends that it needs. `refused` are names that they
    use and that lead nowhere; see the view for `by_address`."""
    view = OutboundView(
        virtual_hosts=tuple([host for entry in entries for host in entry.virtual_hosts]),
        tunnels=tuple([tunnel for entry in entries for tunnel in entry.tunnels]),
        allow_any=allow_any,
        on_demand=on_demand,
        connect_timeout=connect_timeout,
        refusals=(*[refusal for entry in entries for refusal in entry.refusals], *refused),
        by_address=by_address,
    )
    return Outbound(
        view,
        tuple(dict.fromkeys([key for entry in entries for key in entry.backends])),
        tuple(dict.fromkeys([key for entry in entries for key in entry.mirrors])),
        tuple(dict.fromkeys([key for entry in entries for key in entry.carried])),
    )


def _special(table: RouteTable, catalog: Catalog, namespace: str) -> Sequence[Frontend]:
    """The services for which callers of a namespace need entries of their own."""
    space = table.seen(namespace, namespace)
    found = {frontend.host: frontend for frontend in catalog.by_namespace.get(namespace, ())}
    found.update((host, catalog.by_host[host]) for host in space.hosts if host in catalog.by_host)
    if space.wildcards:
        found.update((each.host, each) for each in catalog.frontends if space.covering(each.host) is not None)
    for host in table.conditional:
        if host in catalog.by_host:
            found[host] = catalog.by_host[host]
    return tuple(found.values())


def _by_host(entry: Entry) -> Iterable[tuple[str, Entry]]:
    return ((entry.host, entry),)


def _common_entry(
    memo: Memo, frontend: Frontend, named: HostRules | None, covering: HostRules | None, defaults: TrafficDefaults
) -> Entry:
    return _entry(memo, frontend, (named, covering), Caller(""), defaults, local=False)


def _caller_entry(
    memo: Memo,
    frontend: Frontend,
    own_named: HostRules | None,
    its_named: HostRules | None,
    own_covering: HostRules | None,
    its_covering: HostRules | None,
    defaults: TrafficDefaults,
    namespace: str,
    selectors: tuple[Labels, ...],
) -> Entry:
    """Documents that name the service come before wildcards, and the caller's before the service's."""
    given = (own_named, its_named, own_covering, its_covering)
    local = frontend.namespace == namespace
    return _entry(memo, frontend, given, Caller(namespace, selectors), defaults, local=local)


def _entry(
    memo: Memo,
    frontend: Frontend,
    given: tuple[HostRules | None, ...],
    caller: Caller,
    defaults: TrafficDefaults,
    *,
    local: bool,
) -> Entry:
    hosts: list[VirtualHost] = []
    inside: dict[int, VirtualHost] = {}
    reached: list[tuple[FrontendPort, Connections]] = []
    backends: dict[BackendKey, None] = {}
    domains = memo(_domains, frontend, local)
    for port in frontend.ports:
        backends[BackendKey(frontend.host, port.number)] = None
        ruled = next((each.connections[port.number] for each in given if each and port.number in each.connections), ())
        if ruled or port.protocol is Protocol.TCP:
            reached.append((port, memo.over(port_connections, rules_for_callers(ruled, *caller), frontend, port)))
        if not carries_requests(port):
            continue
        found = next((each.ports[port.number] for each in given if each and port.number in each.ports), None)
        if found is None:
            host = memo(_unrouted_host, frontend, port, domains, defaults)
        else:
            host = memo.over(_ruled_host, rules_for(found, caller), frontend, port, domains)
        if port.protocol is Protocol.TCP:
            inside[port.number] = host
        else:
            hosts.append(host)
        backends.update((key, None) for rule in host.rules for key in rule.backends())
    needed = [key for _, connections in reached for key in connections.backends()]
    backends.update((key._replace(opaque=False), None) for key in needed)
    return Entry(
        host=frontend.host,
        virtual_hosts=tuple(hosts),
        tunnels=tuple(
            memo(_tunnel, frontend, port, domains, each, inside.get(port.number))
            for port, each in reached
            if port.protocol is Protocol.TCP
        ),
        backends=tuple(backends),
        mirrors=_mirrors((*hosts, *inside.values())),
        refusals=(memo(wrong_port, frontend, domains),) if local and frontend.is_service else (),
        carried=tuple(dict.fromkeys(key for key in needed if key.opaque)),
        undetected=tuple((port.number, each) for port, each in reached if port.protocol is not Protocol.TCP),
    )


def _mirrors(hosts: Iterable[VirtualHost]) -> tuple[BackendKey, ...]:
    return tuple(dict.fromkeys(key for host in hosts for rule in host.rules for key in rule.mirrors()))


def _outside_entry(memo: Memo, given: HostRules, namespace: str, selectors: tuple[Labels, ...]) -> Entry:
    """A host that is no service: requests on HTTP's port, connections on those that its rules are for."""
    hosts = []
    if HTTP_PORT in given.ports:
        rules = rules_for(given.ports[HTTP_PORT], Caller(namespace, selectors))
        hosts.append(memo.over(_outside_host, rules, given.host))
    ruled = {port: rules_for_callers(rules, namespace, selectors) for port, rules in given.connections.items()}
    tunnels = [memo.over(_outside_tunnel, rules, given.host, port) for port, rules in ruled.items() if rules]
    needed = [key for tunnel in tunnels for key in tunnel.connections.backends()]
    backends = [key for host in hosts for rule in host.rules for key in rule.backends()]
    backends += [key._replace(opaque=False) for key in needed]
    return Entry(
        host=given.host,
        virtual_hosts=tuple(hosts),
        tunnels=tuple(tunnels),
        backends=tuple(dict.fromkeys(backends)),
        mirrors=_mirrors(hosts),
        carried=tuple(dict.fromkeys(key for key in needed if key.opaque)),
    )


def rules_for(rules: tuple[Rule, ...], caller: Caller) -> tuple[Rule, ...]:
    """The rules in force for a class of callers."""
    return tuple([rule for rule in rules if rule.source.covers(caller.namespace, caller.selectors)])


def layer4_route(frontend: Frontend, port: FrontendPort) -> Layer4Route:
    """Where connections to a port go that no document routes: to its own endpoints."""
    key = BackendKey(frontend.host, port.number, opaque=is_apart(port))
    return Layer4Route((WeightedTarget(key, by_caller=frontend.by_caller),), frontend.origin, frontend.key)


def port_connections(rules: tuple[ConnectionRule, ...], frontend: Frontend, port: FrontendPort) -> Connections:
    """What becomes of connections to a port by these rules, which are all for one class of callers. Callers name a
    service, so the address that they call is the service's."""
    found = [rule for rule in rules if rule.tls in (None, port.tls) and rule.called_at(frontend.addresses)]
    return connections_of(found, layer4_route(frontend, port))


def _tunnel(
    frontend: Frontend,
    port: FrontendPort,
    domains: tuple[str, ...],
    connections: Connections,
    inside: VirtualHost | None,
) -> Tunnel:
    return Tunnel(frontend.host, domains, port.number, connections, frontend.key, inside)


def _outside_tunnel(rules: tuple[ConnectionRule, ...], host: str, port: int) -> Tunnel:
    return Tunnel(host, (host,), port, connections_of(rules, None), rules[0].route.object)


def _domains(frontend: Frontend, local: bool) -> tuple[str, ...]:
    if not frontend.is_service:
        return literal_domains(frontend.called, frontend.addresses)
    caller = frontend.namespace if local else ""
    return caller_domains(frontend.host, frontend.name, frontend.namespace, caller)


def default_rule(frontend: Frontend, port: FrontendPort) -> Rule:
    """The rule of a service that no document routes: everything to its own endpoints."""
    return Rule(
        name="default",
        match=RequestMatch(),
        action=Forward(
            (WeightedBackend(BackendKey(frontend.host, port.number), by_caller=frontend.by_caller),),
            websocket=port.protocol is Protocol.WEBSOCKET,
        ),
        origin=frontend.origin,
        object=frontend.key,
    )


def _unrouted_host(
    frontend: Frontend, port: FrontendPort, domains: tuple[str, ...], defaults: TrafficDefaults
) -> VirtualHost:
    return _ruled_host((with_defaults(default_rule(frontend, port), defaults),), frontend, port, domains)


def _ruled_host(
    rules: tuple[Rule, ...], frontend: Frontend, port: FrontendPort, domains: tuple[str, ...]
) -> VirtualHost:
    return VirtualHost(
        name=f"{frontend.host}:{port.number}",
        domains=domains,
        port=port.number,
        rules=rules,
    )


def _outside_host(rules: tuple[Rule, ...], host: str) -> VirtualHost:
    return VirtualHost(name=host, domains=(host,), port=HTTP_PORT, rules=rules)
