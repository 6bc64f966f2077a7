"""The Subject of the analysis: a Mesh, what its workloads call, and its rules, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from weft.mesh.gateways.gateway import rules_of
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.routes.rules import Forward, Rule
from weft.mesh.services.service import BackendKey, Health, Target
from weft.model.document import Document
from weft.model.origin import Origin
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True)
class RuleAt:
    """A rule and where it holds: for calls to `host` (a service's full name, or a host outside) by documents of
    `namespace`, or at a gateway."""

    namespace: str
    host: str
    rule: Rule
    gateway: str = ""

    @property
    def forward(self) -> Forward | None:
        """What it does if it sends requests on."""
        return self.rule.action if isinstance(self.rule.action, Forward) else None


@dataclass(frozen=True)
class Subject:
    """What is analysed. `observed` are calls that were seen (full names of services); `unprobed` are workloads of a
    weft.yaml with an HTTP port and no HTTP health check, with their places."""

    mesh: Mesh
    documents: tuple[Document[object], ...] = ()
    observed: tuple[tuple[str, str], ...] = ()
    unprobed: tuple[tuple[str, Origin], ...] = ()

    @cached_property
    def rules(self) -> tuple[RuleAt, ...]:
        """Every rule of every document, each once for each host."""
        found: dict[tuple[object, ...], RuleAt] = {}
        for one in (*self._mesh_rules(), *self._gateway_rules()):
            rule = one.rule
            found.setdefault((one.host, one.gateway, rule.object, rule.index, rule.place), one)
        return tuple(found.values())

    def _mesh_rules(self) -> Iterator[RuleAt]:
        for namespace, space in self.mesh.routes.namespaces.items():
            for host, rules in space.hosts.items():
                yield from (RuleAt(namespace, host, rule) for each in rules.ports.values() for rule in each)

    def _gateway_rules(self) -> Iterator[RuleAt]:
        memo = Memo()
        for name, model in self.mesh.gateways.by_name.items():
            for port, hosts in model.hosts.items():
                for host in hosts:
                    for route in host.routes:
                        for rule in rules_of(memo, route, port).rules:
                            yield RuleAt(route[0].document.key.namespace, host.host, rule, name)

    @cached_property
    def workloads(self) -> Mapping[str, Workload]:
        """Registered workloads by their proxies' names."""
        return {one.proxy: one for one in self.mesh.workloads}

    @cached_property
    def behind(self) -> Mapping[str, tuple[Workload, ...]]:
        """The workloads that each service selects, by its full name."""
        found: dict[str, list[Workload]] = {}
        for workload in self.mesh.workloads:
            if workload.gateway is None:
                for frontend in self.mesh.catalog.selecting(workload.namespace, workload.labels):
                    found.setdefault(frontend.host, []).append(workload)
        return {host: tuple(workloads) for host, workloads in found.items()}

    @cached_property
    def calls(self) -> Mapping[str, frozenset[str]]:
        """Which services call which: by what workloads say they use, and by what was seen. Full names."""
        found: dict[str, set[str]] = {}
        catalog = self.mesh.catalog
        for workload in self.mesh.workloads:
            named = (*workload.uses, *(one.service for one in workload.upstreams))
            called = {each.host for name in named if (each := catalog.find(name, workload.namespace)) is not None}
            for service in catalog.selecting(workload.namespace, workload.labels):
                found.setdefault(service.host, set()).update(called)
        for source, destination in self.observed:
            found.setdefault(source, set()).add(destination)
        return {host: frozenset(called - {host}) for host, called in found.items() if called - {host}}

    def rules_towards(self, namespace: str, host: str) -> tuple[Rule, ...]:
        """The rules by which workloads of a namespace call a service: their own namespace's, else the service's."""
        frontend = self.mesh.catalog.by_host.get(host)
        spaces = (namespace, frontend.namespace if frontend is not None else namespace)
        for space in spaces:
            rules = self.mesh.routes.of(space).hosts.get(host)
            if rules is not None:
                return tuple(rule for each in rules.ports.values() for rule in each)
        return ()

    def target(self, key: BackendKey) -> Target | None:
        """A backend as callers without DestinationRules of their own use it."""
        return self.mesh.targets.by_key.get(key)

    def healthy(self, key: BackendKey) -> int | None:
        """How many healthy endpoints a backend has; None where DNS says, or nothing is known."""
        target = self.target(key)
        if target is None or target.endpoints is None:
            return None
        return sum(one.health is Health.HEALTHY for one in target.endpoints.endpoints)


def short(host: str) -> str:
    """A service's full name as people say it: NAME, or NAME.NAMESPACE outside of the default one."""
    name, _, rest = host.partition(".")
    namespace = rest.partition(".")[0]
    if not host.endswith(".svc.cluster.local"):
        return host
    return name if namespace == "default" else f"{name}.{namespace}"


def listed(names: Iterable[str], most: int = 3) -> str:
    """Names as a list for people, the first of them."""
    every = list(dict.fromkeys(names))
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def seconds(value: float) -> str:
    """Seconds as documents write them."""
    return f"{value:g}s" if value >= 1 or value == 0 else f"{value * 1000:g}ms"
