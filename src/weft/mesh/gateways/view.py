"""The view of a gateway proxy: its ports, hosts and certificates, and only the backends its routes use."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weft.mesh.gateways.gateway import GatewayHost, GatewayModel, Routes
from weft.mesh.gateways.listeners import Listener
from weft.mesh.memo import Memo
from weft.mesh.routes.compiled import gateway_rules
from weft.mesh.routes.precedence import merge_by_precedence, rules_for_caller
from weft.mesh.routes.rules import Redirect, Rule, VirtualHost
from weft.mesh.services.backends import CallerTargets
from weft.mesh.services.hosts import DEFAULT_PORTS
from weft.mesh.services.service import BackendKey, Target
from weft.mesh.views import Certificate, GatewayPort, GatewayServer, GatewayView, TargetsView
from weft.model.identity import SpiffeId
from weft.model.labels import Labels, selects
from weft.model.workload import SocketAddress, Workload


@dataclass(frozen=True, slots=True, eq=False)
class GatewayPorts:
    """What a gateway proxy does, but for endpoints: its ports, certificates, and the backends they need."""

    ports: tuple[GatewayPort, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    backends: tuple[BackendKey, ...] = ()


def build_gateway_view(
    memo: Memo,
    workload: Workload,
    gateway: GatewayModel | None,
    selectors: tuple[Labels, ...],
    targets: CallerTargets,
    trust_domain: str,
    longest_request: float | None = None,
) -> GatewayView:
    """What the gateway proxy `workload` does. A Gateway that does not exist gives a view without ports. `selectors` are
    the source labels that any rule asks for, `longest_request` is the mesh's setting."""
    ports = memo(_gateway_ports, memo, workload, gateway, selectors, longest_request) if gateway else memo(GatewayPorts)
    found = (targets.get(key) for key in ports.backends)
    view = memo.over(_targets, [target for target in found if target is not None], trust_domain)
    return memo(_view, workload, gateway.name if gateway else "", ports, view, trust_domain)


def _targets(found: tuple[Target, ...], trust_domain: str) -> TargetsView:
    return TargetsView(None, found, trust_domain)


def _view(
    workload: Workload, gateway: str, ports: GatewayPorts, targets: TargetsView, trust_domain: str
) -> GatewayView:
    return GatewayView(
        proxy=workload.proxy,
        identity=SpiffeId(trust_domain, workload.namespace, workload.service_account),
        gateway=gateway,
        ports=ports.ports,
        certificates=ports.certificates,
        targets=targets,
    )


def _gateway_ports(
    memo: Memo,
    workload: Workload,
    gateway: GatewayModel,
    selectors: tuple[Labels, ...],
    longest_request: float | None,
) -> GatewayPorts:
    own = tuple(item for item in selectors if selects(item, workload.labels))
    compiler = _Compiler(memo, workload, gateway, own, longest_request)
    ports = tuple(compiler.port(number) for number in sorted(gateway.hosts))
    certificates = {each.name: each for listener in gateway.listeners for each in listener.certificates}
    hosts = [host for port in ports for server in port.servers for host in server.virtual_hosts]
    backends = {key for host in hosts for rule in host.rules for key in rule.backends()}
    return GatewayPorts(ports, tuple(certificates[name] for name in sorted(certificates)), tuple(sorted(backends)))


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles the ports of one gateway for one proxy."""

    memo: Memo
    workload: Workload
    gateway: GatewayModel
    selectors: tuple[Labels, ...]
    longest_request: float | None

    def port(self, number: int) -> GatewayPort:
        """One port with all its hosts."""
        listeners = tuple(each for each in self.gateway.listeners if each.port == number)
        first = listeners[0]
        if first.protocol == "HTTP":
            hosts = self._hosts(first, self.gateway.hosts[number])
            servers: tuple[GatewayServer, ...] = (GatewayServer("http", "*", hosts),)
        else:
            servers = tuple(self._https(listener, listeners) for listener in listeners)
        return GatewayPort(
            port=number,
            listen=self._bound(number),
            protocol=first.protocol,
            servers=servers,
            object=self.gateway.key,
            origin=first.origin,
            longest_request=self.longest_request,
        )

    def _bound(self, number: int) -> SocketAddress:
        binding = self.workload.gateway
        if binding is None:
            raise ValueError(f"workload {self.workload.proxy} serves no gateway")
        return binding.bind(number)

    def _https(self, listener: Listener, all_of_port: tuple[Listener, ...]) -> GatewayServer:
        own = tuple(host for host in self.gateway.hosts[listener.port] if host.listener == listener.name)
        return GatewayServer(
            name=listener.name,
            hostname=listener.hostname,
            virtual_hosts=self._hosts(listener, own),
            certificates=tuple(certificate.name for certificate in listener.certificates),
            misdirected=tuple(sorted(other.hostname for other in all_of_port if other is not listener)),
            lowest_tls=listener.lowest_tls,
        )

    def _hosts(self, listener: Listener, hosts: tuple[GatewayHost, ...]) -> tuple[VirtualHost, ...]:
        return tuple([self._host(listener, host) for host in hosts])

    def _host(self, listener: Listener, host: GatewayHost) -> VirtualHost:
        rules = [rule for group in (host.routes, *host.wider) for rule in self._rules(listener, group)]
        return self.memo.over(_virtual_host, rules, host.host, listener.port)

    def _rules(self, listener: Listener, routes: Routes) -> list[Rule]:
        memo, number = self.memo, listener.port
        namespace, bound = self.workload.namespace, self._bound(number).port
        every = [gateway_rules(memo, route, number, self.gateway.name) for route in routes]
        parts = [memo(rules_for_caller, part, namespace, self.selectors) for part in every]
        rules = parts[0].rules if len(parts) == 1 else memo.over(merge_by_precedence, parts)
        protocol = listener.protocol
        return [memo(_with_port, rule, bound, protocol) if _needs_port(rule, protocol) else rule for rule in rules]


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
