"""The view of a gateway proxy: its ports, hosts and certificates, and only the backends its routes use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from weft.mesh.access.access import OPEN, Access
from weft.mesh.gateways.gateway import GatewayHost, GatewayModel, Routes, rules_of
from weft.mesh.gateways.layer4 import build_chains
from weft.mesh.gateways.listeners import Listener, ListenerHost, ListenerTls
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizers import asked_keys
from weft.mesh.policies.guards import NO_GUARDS, Guards, guard_of, guarded, login_rules
from weft.mesh.policies.ratelimitpolicy import NO_LIMITS, RateLimits, limited
from weft.mesh.routes.deserted import deserted, leave_deserted, session_keys
from weft.mesh.routes.precedence import merge_by_precedence, rules_for_caller
from weft.mesh.routes.rules import Redirect, RequestMatch, Rule, VirtualHost
from weft.mesh.services.backends import CallerTargets
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.credentials import NO_CREDENTIALS, Credentials, credentials_of, names_of_targets
from weft.mesh.services.hosts import DEFAULT_PORTS, specificity
from weft.mesh.services.service import Backend, BackendKey, Frontend, MutualTls, Target, Tls
from weft.mesh.signals import STANDARD, PlainKey, Signals
from weft.mesh.views import (
    Certificate,
    ClientRoots,
    Credential,
    DatagramPort,
    GatewayPort,
    GatewayServer,
    GatewayView,
    Layer4Chain,
    TargetsView,
)
from weft.model.identity import SpiffeId
from weft.model.labels import Labels, selects
from weft.model.workload import SocketAddress, Workload
from weft.schema.hosts import covers


@dataclass(frozen=True, slots=True, eq=False)
class GatewayPorts:
    """What a gateway proxy does, but for endpoints: its ports, certificates, and the backends they need; `kept` are
    those at which rules keep sessions."""

    ports: tuple[GatewayPort, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    backends: tuple[BackendKey, ...] = ()
    roots: tuple[ClientRoots, ...] = ()
    kept: tuple[BackendKey, ...] = ()


def build_gateway_view(
    memo: Memo,
    workload: Workload,
    gateway: GatewayModel | None,
    selectors: tuple[Labels, ...],
    targets: CallerTargets,
    trust_domain: str,
    longest_request: float | None = None,
    signals: Signals = STANDARD,
    collectors: tuple[PlainKey, ...] = (),
    accesses: tuple[tuple[int, Access], ...] = (),
    guards: Guards = NO_GUARDS,
    trust_epoch: int = 0,
    credentials: Credentials = NO_CREDENTIALS,
    limits: RateLimits = NO_LIMITS,
    datagrams: tuple[DatagramPort, ...] = (),
    catalog: Catalog | None = None,
    http10: bool = False,
) -> GatewayView:
    """What the gateway proxy `workload` does. A Gateway that does not exist gives a view without ports. `selectors` are
    the source labels that any rule asks for, `longest_request` is the mesh's setting, `collectors` are the services
    that its `signals` go to, `accesses` say who may call each port, `guards` what clients meet there, `credentials`
    what there is to show to servers outside and to believe of them, `limits` how often clients may come, `datagrams`
    its UDP ports, `catalog` every service by name; `http10` takes clients that speak HTTP/1.0."""
    edge = (selectors, longest_request, accesses, guards, limits, http10)
    ports = memo(_gateway_ports, memo, workload, gateway, *edge) if gateway else memo(GatewayPorts)
    plain = {key._replace(opaque=False) for key in ports.backends}
    found = (targets.get(key) for key in sorted({*plain, *(BackendKey(*key) for key in collectors)}))
    known = [target for target in found if target is not None]
    passed = memo(_passed, gateway, targets, catalog, workload.namespace) if gateway and catalog else ()
    known += [target for target in passed if target.backend.key not in plain]
    view = memo.over(_targets, known, trust_domain, trust_epoch)
    gone = deserted(ports.kept, view) if ports.kept else ()
    if gone:
        ports = memo.over(_leave, gone, ports)
    if any(key.opaque for key in ports.backends):
        view = memo.over(_carrying, targets.carried(memo, ports.backends), view)
    client = gateway.client if gateway is not None else None
    if client is not None:
        view = memo(_showing, memo, view, client)
    shown = memo(credentials_of, credentials, workload.namespace, memo(names_of_targets, view)) if credentials else ()
    of = gateway.name if gateway else ""
    beside = memo.over(_backends, passed)
    return memo(_view, workload, of, ports, view, trust_domain, signals, shown, beside, datagrams)


def _showing(memo: Memo, view: TargetsView, client: Certificate) -> TargetsView:
    """The backends of a gateway that shows `client` to servers that it calls over TLS, where no credential is said."""
    own = [replace(each, backend=memo(_shown, each.backend, client)) for each in view.own]
    return replace(view, own=tuple(own))


def _shown(backend: Backend, client: Certificate) -> Backend:
    transport = backend.transport
    if not isinstance(transport, Tls) or transport.proves:
        return backend
    return replace(backend, transport=replace(transport, shown=client.name), origins=(*backend.origins, client.origin))


def _passed(gateway: GatewayModel, targets: CallerTargets, catalog: Catalog, namespace: str) -> tuple[Target, ...]:
    """Those to which mutual TLS of others may be passed on without being opened: of the services that a server with
    AUTO_PASSTHROUGH has as hosts, and of which callers in the `namespace` of the gateway's process are told, the ones
    whose every instance demands it."""
    hosts = [host for each in gateway.listeners if each.automatic for host in each.hosts]
    if not hosts:
        return ()
    every = {**targets.base.by_key, **targets.own}
    return tuple(
        target
        for key, target in sorted(every.items())
        if isinstance(target.backend.transport, MutualTls)
        and _is_passed(catalog.by_host[key.host], hosts)
        and catalog.tells(catalog.by_host[key.host], namespace)
    )


def _is_passed(frontend: Frontend, hosts: Sequence[ListenerHost]) -> bool:
    """Whether a service is among the hosts of a server, each of which may be for services of some namespaces only."""
    return any(
        covers(host.hostname, frontend.called)
        and (host.admission.namespaces is None or frontend.namespace in host.admission.namespaces)
        for host in hosts
    )


def _backends(targets: tuple[Target, ...]) -> tuple[Backend, ...]:
    return tuple(target.backend for target in targets)


def _leave(gone: tuple[BackendKey, ...], ports: GatewayPorts) -> GatewayPorts:
    def server(each: GatewayServer) -> GatewayServer:
        return replace(each, virtual_hosts=leave_deserted(each.virtual_hosts, gone))

    return replace(
        ports, ports=tuple([replace(port, servers=tuple(map(server, port.servers))) for port in ports.ports])
    )


def _targets(found: tuple[Target, ...], trust_domain: str, trust_epoch: int) -> TargetsView:
    return TargetsView(None, found, trust_domain, trust_epoch=trust_epoch)


def _carrying(carried: tuple[Target, ...], seen: TargetsView) -> TargetsView:
    return replace(seen, carried=carried)


def _view(
    workload: Workload,
    gateway: str,
    ports: GatewayPorts,
    targets: TargetsView,
    trust_domain: str,
    signals: Signals,
    credentials: tuple[Credential, ...],
    passed: tuple[Backend, ...],
    datagrams: tuple[DatagramPort, ...],
) -> GatewayView:
    return GatewayView(
        proxy=workload.proxy,
        identity=SpiffeId(trust_domain, workload.namespace, workload.service_account),
        gateway=gateway,
        ports=ports.ports,
        certificates=ports.certificates,
        targets=targets,
        signals=signals,
        roots=ports.roots,
        credentials=credentials,
        passed=passed,
        datagrams=datagrams,
    )


def _gateway_ports(
    memo: Memo,
    workload: Workload,
    gateway: GatewayModel,
    selectors: tuple[Labels, ...],
    longest_request: float | None,
    accesses: tuple[tuple[int, Access], ...],
    guards: Guards,
    limits: RateLimits,
    http10: bool,
) -> GatewayPorts:
    own = tuple(item for item in selectors if selects(item, workload.labels))
    compiler = _Compiler(memo, workload, gateway, own, longest_request, dict(accesses), guards, limits, http10)
    numbers = {each.port for each in gateway.listeners if not each.datagrams}
    ports = tuple(compiler.port(number) for number in sorted(numbers))
    certificates = {
        each.name: each for listener in gateway.listeners if listener.tls for each in listener.tls.certificates
    }
    if gateway.client is not None:
        certificates[gateway.client.name] = gateway.client
    hosts = [host for port in ports for server in port.servers for host in server.virtual_hosts]
    backends = {key for host in hosts for rule in host.rules for key in rule.backends()}
    backends |= {key for port in ports for chain in port.chains for key in chain.route.used()}
    backends |= {BackendKey(*key) for key in asked_keys(tuple(port.access for port in ports))}
    roots = {each.tls.roots.name: each.tls.roots for each in gateway.listeners if each.tls and each.tls.roots}
    return GatewayPorts(
        ports,
        tuple(certificates[name] for name in sorted(certificates)),
        tuple(sorted(backends)),
        tuple(roots[name] for name in sorted(roots)),
        session_keys(tuple(hosts)),
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles the ports of one gateway for one proxy."""

    memo: Memo
    workload: Workload
    gateway: GatewayModel
    selectors: tuple[Labels, ...]
    longest_request: float | None
    accesses: Mapping[int, Access]
    guards: Guards
    limits: RateLimits
    http10: bool

    def port(self, number: int) -> GatewayPort:
        """One port with all its hosts."""
        listeners = tuple(each for each in self.gateway.listeners if each.port == number and not each.datagrams)
        first = next((each for each in listeners if each.carries_requests), listeners[0])
        servers = tuple(self._servers(listeners))
        hosts_of_all = [host for server in servers for host in server.virtual_hosts]
        access = self.accesses.get(number, OPEN)
        if access.tokens and any(rule.match.claims for host in hosts_of_all for rule in host.rules):
            access = replace(access, reroutes=True)
        names = {rule.limited for host in hosts_of_all for rule in host.rules if rule.limited}
        if names:
            policies = dict.fromkeys(each for each in self.limits.by_target.values() if each.name in names)
            access = replace(access, limits=tuple(policies), tagged=True)
        return GatewayPort(
            port=number,
            listen=self._bound(number, first.bind),
            protocol=first.protocol,
            servers=servers,
            object=first.object,
            origin=first.origin,
            longest_request=self.longest_request,
            access=access,
            chains=tuple(self._chains(listeners)),
            http10=self.http10,
        )

    def _servers(self, listeners: Sequence[Listener]) -> Iterator[GatewayServer]:
        """What serves requests: everything without TLS together, and each listener with TLS by itself."""
        plain = next((each for each in listeners if each.plain), None)
        if plain is not None:
            yield GatewayServer("http", ("*",), self._hosts(plain))
        for listener in listeners:
            if listener.protocol == "HTTPS" and listener.tls is not None:
                yield self._https(listener, listener.tls, listeners)

    def _chains(self, listeners: Sequence[Listener]) -> Iterator[Layer4Chain]:
        """What passes connections on. A server name is that of the listener whose hostname is the most specific: Envoy
        refuses a port with two chains for one."""
        taken = {(name, "") for each in listeners if each.protocol == "HTTPS" for name in each.hostnames}
        passing = [each for each in listeners if not each.carries_requests]
        for listener in sorted(passing, key=lambda each: max(map(specificity, each.hostnames)), reverse=True):
            every = () if listener.closed else self.gateway.hosts[listener.port]
            hosts = tuple(each for each in every if each.server == listener.server)
            for chain in build_chains(self.memo, listener, hosts, self.workload.namespace, self.selectors):
                subnets = chain.subnets or ("",)
                places = {(name, subnet) for name in chain.hostnames or ("*",) for subnet in subnets}
                if places.isdisjoint(taken):
                    taken |= places
                    yield chain

    def _bound(self, number: int, address: str = "") -> SocketAddress:
        return bound_of(self.workload, number, address)

    def _https(self, listener: Listener, tls: ListenerTls, all_of_port: Sequence[Listener]) -> GatewayServer:
        others = {name for other in all_of_port if other is not listener for name in other.hostnames}
        return GatewayServer(
            name=listener.server,
            hostnames=listener.hostnames,
            virtual_hosts=self._hosts(listener),
            tls=tls.edge(),
            misdirected=tuple(sorted(others - set(listener.hostnames))),
            http3=self._bound(listener.port, listener.bind).port if listener.http3 else 0,
        )

    def _https_port(self, host: str) -> int:
        """Where the host is served over TLS, as clients reach it; 0 if it is not, or at HTTPS's own port."""
        for listener in self.gateway.listeners:
            if listener.protocol == "HTTPS" and any(covers(name, host) for name in listener.hostnames):
                bound = self._bound(listener.port, listener.bind).port
                return 0 if bound == DEFAULT_PORTS["https"] else bound
        return 0

    def _hosts(self, listener: Listener) -> tuple[VirtualHost, ...]:
        server = "" if listener.plain else listener.server
        return tuple(
            [self._host(listener, host) for host in self.gateway.hosts[listener.port] if host.server == server]
        )

    def _host(self, listener: Listener, host: GatewayHost) -> VirtualHost:
        if host.redirects:
            rules = [self.memo(_to_https, listener, self._https_port(host.host))]
            return self.memo.over(_virtual_host, rules, host.host, listener.port)
        groups = (host.routes, *host.wider)
        rules = [self._guarded(listener, rule) for group in groups for rule in self._rules(listener, group)]
        rules = [*login_rules(self.memo, rules), *rules]
        return self.memo.over(_virtual_host, rules, host.host, listener.port)

    def _guarded(self, listener: Listener, rule: Rule) -> Rule:
        if self.guards.by_target:
            guard = self.memo(guard_of, self.guards, listener.gateway, rule)
            rule = self.memo(guarded, rule, guard) if guard.demands else rule
        if self.limits.by_target:
            policy = self.limits.of_rule(listener.gateway, rule)
            rule = self.memo(limited, rule, policy.name) if policy is not None else rule
        return rule

    def _rules(self, listener: Listener, routes: Routes) -> list[Rule]:
        memo, number = self.memo, listener.port
        namespace, bound = self.workload.namespace, self._bound(number).port
        every = [rules_of(memo, route, number) for route in routes]
        parts = [memo(rules_for_caller, part, namespace, self.selectors) for part in every]
        rules = parts[0].rules if len(parts) == 1 else memo.over(merge_by_precedence, parts)
        protocol = listener.protocol
        return [memo(_with_port, rule, bound, protocol) if _needs_port(rule, protocol) else rule for rule in rules]


def bound_of(workload: Workload, number: int, address: str = "") -> SocketAddress:
    """Where a gateway proxy listens for the port of a number, whose listener may narrow that to an `address`."""
    if workload.gateway is None:
        raise ValueError(f"workload {workload.proxy} serves no gateway")
    found = workload.gateway.bind(number)
    return replace(found, host=address) if address else found


def _to_https(listener: Listener, port: int) -> Rule:
    """Every request is sent on to HTTPS. Port 0 is HTTPS's own."""
    action = Redirect(301, scheme="https", port=port)
    return Rule("https-redirect", RequestMatch(), action, listener.origin, listener.object)


def _needs_port(rule: Rule, protocol: str) -> bool:
    action = rule.action
    if not isinstance(action, Redirect) or not action.port_from_request or action.scheme not in ("", protocol.lower()):
        return False
    return bool(action.host) and ":" not in action.host


def _with_port(rule: Rule, bound: int, protocol: str) -> Rule:
    """A redirect to another host that keeps the port means the listener's, as the client reaches it."""
    if not isinstance(rule.action, Redirect) or bound == DEFAULT_PORTS[protocol.lower()]:
        return rule
    return replace(rule, action=replace(rule.action, port=bound, port_from_request=False))


def _virtual_host(rules: tuple[Rule, ...], host: str, port: int) -> VirtualHost:
    return VirtualHost(name=f"{host}:{port}", domains=(host,), port=0, rules=rules)
