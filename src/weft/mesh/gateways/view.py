"""The view of a gateway proxy: its ports, hosts and certificates, and only the backends its routes use."""

from __future__ import annotations

from dataclasses import replace

from weft.mesh.checks import gateway_of
from weft.mesh.gateways.gateway import GatewayHost, GatewayModel
from weft.mesh.gateways.listeners import Listener
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.meshconfig import with_defaults
from weft.mesh.routes.claims import RouteDocument
from weft.mesh.routes.conversion import convert, joined_rules
from weft.mesh.routes.rules import Redirect, Rule, VirtualHost
from weft.mesh.services.backends import backends_of_rules, build_backends
from weft.mesh.services.service import Backend, EndpointSet
from weft.mesh.services.targets import Targets, build_targets
from weft.mesh.sidecars.outbound import rules_for, upgrades_of
from weft.mesh.views import Certificate, GatewayPort, GatewayServer, GatewayView
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.workload import Workload

_DEFAULT_PORTS = {"HTTP": 80, "HTTPS": 443}


def build_gateway_view(mesh: Mesh, workload: Workload, memo: Memo) -> GatewayView:
    """What the gateway proxy `workload` does. A Gateway that does not exist gives a view without ports."""
    name = gateway_of(workload)
    gateway = mesh.gateways.by_name.get(name)
    ports: tuple[GatewayPort, ...] = ()
    certificates: dict[str, Certificate] = {}
    targets = build_targets(memo, mesh.catalog, mesh.destination_rules, workload.namespace)
    if gateway is not None:
        compiler = _Compiler(mesh, workload, memo, gateway, targets)
        ports = memo.same([compiler.port(number) for number in sorted(gateway.hosts)])
        for listener in gateway.listeners:
            certificates.update({item.name: item for item in listener.certificates})
    names = {backend for port in ports for host in port.virtual_hosts for backend in backends_of_rules(host.rules)}
    backends, endpoints = build_backends(memo, names, targets, mesh.index)
    _, backends = with_defaults(memo, mesh.defaults, (), backends)
    return memo(
        _view,
        workload,
        name,
        ports,
        memo.same([certificates[key] for key in sorted(certificates)]),
        backends,
        endpoints,
        mesh.settings.trust_domain,
    )


def _view(
    workload: Workload,
    gateway: str,
    ports: tuple[GatewayPort, ...],
    certificates: tuple[Certificate, ...],
    backends: tuple[Backend, ...],
    endpoints: tuple[EndpointSet, ...],
    trust_domain: str,
) -> GatewayView:
    return GatewayView(
        proxy=workload.proxy,
        identity=SpiffeId(trust_domain, workload.namespace, workload.service_account),
        gateway=gateway,
        ports=ports,
        certificates=certificates,
        backends=backends,
        endpoints=endpoints,
        trust_domain=trust_domain,
    )


class _Compiler:
    """Compiles the ports of one gateway for one proxy."""

    def __init__(self, mesh: Mesh, workload: Workload, memo: Memo, gateway: GatewayModel, targets: Targets) -> None:
        self._mesh = mesh
        self._workload = workload
        self._memo = memo
        self._gateway = gateway
        self._targets = targets

    def port(self, number: int) -> GatewayPort:
        """One port with all its hosts."""
        listeners = tuple(item for item in self._gateway.listeners if item.spec.port == number)
        hosts = self._memo.same([self._host(number, host) for host in self._gateway.hosts[number]])
        hosts, _ = with_defaults(self._memo, self._mesh.defaults, hosts, ())
        return self._memo(_port, self._gateway, self._workload, number, listeners, hosts)

    def _host(self, number: int, host: GatewayHost) -> VirtualHost:
        rules = tuple([rule for group in (host.documents, *host.wider) for rule in self._rules(group, number)])
        upgrades = upgrades_of(rules, self._targets)
        return self._memo.over(_virtual_host, rules, host.host, number, upgrades)

    def _rules(self, documents: tuple[RouteDocument, ...], number: int) -> tuple[Rule, ...]:
        memo, mesh = self._memo, self._mesh
        parts = tuple(convert(memo, item, number, self._gateway.name, self._targets, mesh.grants) for item in documents)
        selectors = tuple(item for item in mesh.routes.selectors if selects(item, self._workload.labels))
        rules = rules_for(joined_rules(memo, parts), self._workload.namespace, selectors)
        binding = self._workload.gateway
        bound = binding.bind(number).port if binding else number
        return tuple(
            memo(_with_port, rule, bound, self._protocol(number)) if _needs_port(rule) else rule for rule in rules
        )

    def _protocol(self, number: int) -> str:
        return next(item.spec.protocol for item in self._gateway.listeners if item.spec.port == number)


def _needs_port(rule: Rule) -> bool:
    action = rule.action
    return isinstance(action, Redirect) and action.port_from_request and bool(action.host) and ":" not in action.host


def _with_port(rule: Rule, bound: int, protocol: str) -> Rule:
    """A redirect to another host that keeps the port means the listener's, as the client reaches it."""
    if not isinstance(rule.action, Redirect) or bound == _DEFAULT_PORTS[protocol]:
        return rule
    return replace(rule, action=replace(rule.action, port=bound, port_from_request=False))


def _virtual_host(rules: tuple[Rule, ...], host: str, port: int, upgrades: tuple[str, ...]) -> VirtualHost:
    return VirtualHost(name=f"{host}:{port}", domains=(host,), port=0, rules=rules, upgrades=upgrades)


def _port(
    gateway: GatewayModel,
    workload: Workload,
    number: int,
    listeners: tuple[Listener, ...],
    hosts: tuple[VirtualHost, ...],
) -> GatewayPort:
    binding = workload.gateway
    if binding is None:
        raise ValueError(f"workload {workload.proxy} serves no gateway")
    first = listeners[0]
    return GatewayPort(
        port=number,
        listen=binding.bind(number),
        protocol=first.spec.protocol,
        servers=tuple(
            GatewayServer(item.spec.name, item.hostname, tuple(cert.name for cert in item.certificates))
            for item in listeners
        ),
        route_name=f"gateway|{number}",
        virtual_hosts=hosts,
        origin=gateway.document.at("spec", "listeners", first.index),
    )
