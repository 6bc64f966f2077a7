"""Outbound: what the sidecars of one namespace, source class and scope may call, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.destinationrule import Target
from weft.mesh.policies.meshconfig import TrafficDefaults, with_defaults
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import MeshRoutes, RouteDocument
from weft.mesh.routes.conversion import convert, joined_rules
from weft.mesh.routes.converted import MESH, reach
from weft.mesh.routes.rules import Forward, RequestMatch, Rule, VirtualHost, WeightedBackend
from weft.mesh.services.backends import backends_of_rules, build_backends, parts_of_backend
from weft.mesh.services.hosts import HTTP_PORT, caller_domains
from weft.mesh.services.service import Protocol, Service, backend_name
from weft.mesh.services.targets import Targets, build_targets
from weft.mesh.views import OutboundView, Tunnel
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.snapshot import OutboundPolicy

WEBSOCKET_UPGRADE = ("websocket",)
OUTBOUND_ROUTES = "outbound"
"""The route configuration's name: the same in every proxy, so that its listener never changes with routes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A class of callers: their namespace, which of the source selectors in use they match, and the services they are
    limited to (None: all)."""

    namespace: str
    selectors: tuple[Labels, ...] = ()
    scope: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """The part of an OutboundView that does not depend on endpoints."""

    virtual_hosts: tuple[VirtualHost, ...]
    tunnels: tuple[Tunnel, ...]
    backends: tuple[str, ...]


def build_outbound(mesh: Mesh, memo: Memo, caller: Caller) -> OutboundView:
    """The view shared by all sidecars of this class."""
    targets = build_targets(memo, mesh.catalog, mesh.destination_rules, caller.namespace)
    routing = memo(
        build_routing,
        memo,
        mesh.routes,
        targets,
        mesh.grants,
        caller.namespace,
        caller.selectors,
        caller.scope,
    )
    allow_any = mesh.settings.outbound_policy == OutboundPolicy.ALLOW_ANY
    return memo(_outbound, memo, routing, targets, mesh.index, mesh.defaults, allow_any, mesh.settings.trust_domain)


def _outbound(
    memo: Memo,
    routing: Routing,
    targets: Targets,
    index: Mapping[str, Service],
    defaults: TrafficDefaults,
    allow_any: bool,
    trust_domain: str,
) -> OutboundView:
    backends, endpoints = build_backends(memo, routing.backends, targets, index)
    hosts, backends = with_defaults(memo, defaults, routing.virtual_hosts, backends)
    return OutboundView(
        name=OUTBOUND_ROUTES,
        virtual_hosts=hosts,
        tunnels=routing.tunnels,
        backends=backends,
        endpoints=endpoints,
        allow_any=allow_any,
        trust_domain=trust_domain,
    )


def build_routing(
    memo: Memo,
    routes: MeshRoutes,
    targets: Targets,
    grants: Grants,
    namespace: str,
    selectors: tuple[Labels, ...],
    scope: tuple[str, ...] | None,
) -> Routing:
    """Virtual hosts and tunnels of every service in scope, and the names of all backends they need."""
    caller = Caller(namespace, selectors, scope)
    compiler = _Compiler(memo, routes, targets, grants, caller)
    hosts: list[VirtualHost] = []
    tunnels: list[Tunnel] = []
    backends: set[str] = set()
    for host in tuple(targets.by_host) if scope is None else scope:
        target = targets.by_host[host]
        for port in target.service.ports:
            backends.add(backend_name(host, port.number))
            if port.protocol is Protocol.TCP:
                tunnels.append(memo(_tunnel, target.service, port.number, target.service.namespace == namespace))
            else:
                hosts.append(compiler.service_host(target, port.number))
    hosts += compiler.outside_hosts()
    for virtual_host in hosts:
        backends |= backends_of_rules(virtual_host.rules)
    return Routing(memo.same(hosts), memo.same(tunnels), tuple(sorted(backends)))


@dataclass(frozen=True, slots=True)
class _Compiler:
    memo: Memo
    routes: MeshRoutes
    targets: Targets
    grants: Grants
    caller: Caller

    def service_host(self, target: Target, port: int) -> VirtualHost:
        service = target.service
        local = service.namespace == self.caller.namespace
        documents = self.routes.documents(self.caller.namespace, service, port)
        if not documents:
            return self.memo(_default_host, target, port, local)
        rules = self._rules(documents, port)
        return self.memo.over(_ruled_host, rules, service, port, local, upgrades_of(rules, self.targets))

    def outside_hosts(self) -> list[VirtualHost]:
        """Hosts that are no services, routed by the callers' own namespace, on HTTP's port."""
        own = self.routes.namespaces.get(self.caller.namespace)
        found: list[VirtualHost] = []
        if own is None:
            return found
        for host in own.outside:
            rules = self._rules(own.named(host, HTTP_PORT), HTTP_PORT)
            found.append(self.memo.over(_outside_host, rules, host, upgrades_of(rules, self.targets)))
        return found

    def _rules(self, documents: tuple[RouteDocument, ...], port: int) -> tuple[Rule, ...]:
        parts = tuple(convert(self.memo, item, port, MESH, self.targets, self.grants) for item in documents)
        return rules_for(joined_rules(self.memo, parts), self.caller.namespace, self.caller.selectors)


def rules_for(rules: tuple[Rule, ...], namespace: str, selectors: tuple[Labels, ...]) -> tuple[Rule, ...]:
    """The rules in force for callers of a namespace that match exactly these source selectors."""
    return tuple(
        rule
        for rule in rules
        if rule.source.namespace in ("", namespace) and (not rule.source.labels or rule.source.labels in selectors)
    )


def upgrades_of(rules: tuple[Rule, ...], targets: Targets) -> tuple[str, ...]:
    """The protocol upgrades that the backends of these rules ask for by their ports' protocol."""
    for name in backends_of_rules(rules):
        host, number, _ = parts_of_backend(name)
        port = targets.by_host[host].service.port(number)
        if port is not None and port.protocol is Protocol.WEBSOCKET:
            return WEBSOCKET_UPGRADE
    return ()


def _tunnel(service: Service, port: int, local: bool) -> Tunnel:
    domains = caller_domains(service.host, service.name, service.namespace, service.namespace if local else "")
    return Tunnel(domains, port, backend_name(service.host, port))


def default_rule(target: Target, port: int) -> Rule:
    """The rule of a service that no document routes: everything to its own endpoints."""
    service = target.service
    reached = reach(target, port)
    return Rule(
        name="default",
        match=RequestMatch(),
        action=Forward((WeightedBackend(reached.backend),), hash=reached.hash),
        origin=service.origin,
        object=ObjectKey("", "Service", service.namespace, service.name),
    )


def _default_host(target: Target, port: int, local: bool) -> VirtualHost:
    found = target.service.port(port)
    websocket = found is not None and found.protocol is Protocol.WEBSOCKET
    return _ruled_host(
        (default_rule(target, port),), target.service, port, local, WEBSOCKET_UPGRADE if websocket else ()
    )


def _ruled_host(
    rules: tuple[Rule, ...], service: Service, port: int, local: bool, upgrades: tuple[str, ...]
) -> VirtualHost:
    caller = service.namespace if local else ""
    return VirtualHost(
        name=f"{service.host}:{port}",
        domains=caller_domains(service.host, service.name, service.namespace, caller),
        port=port,
        rules=rules,
        upgrades=upgrades,
    )


def _outside_host(rules: tuple[Rule, ...], host: str, upgrades: tuple[str, ...]) -> VirtualHost:
    return VirtualHost(name=host, domains=(host,), port=HTTP_PORT, rules=rules, upgrades=upgrades)
