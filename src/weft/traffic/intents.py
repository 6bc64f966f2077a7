"""Intents: which calls the documents of a mesh ask for, and how they want them divided, before anybody calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weft.mesh.gateways.gateway import GatewayModel
from weft.mesh.model import Mesh
from weft.mesh.routes.rules import Forward, Rule, SourceMatch
from weft.mesh.services.catalog import selector_key
from weft.mesh.services.service import BackendKey, Endpoint, Frontend, Location, Service
from weft.model.canonical import canonical_revision
from weft.model.document import ObjectKey
from weft.model.labels import Labels, selects
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Place:
    """A node of the graph without its traffic. `versions` are the workloads (``NAMESPACE/WORKLOAD``) of each."""

    id: str
    kind: str
    name: str
    namespace: str
    versions: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a split: of `asked` (0 to 1) of the requests to the service `callee` (the id of its node), those that
    the `workloads` answer, named `to` for people."""

    to: str
    callee: str
    workloads: frozenset[str]
    asked: float


@dataclass(frozen=True, slots=True)
class Split:
    """How the rule of the document `object` divides the requests of the callers in `source`."""

    object: str
    source: SourceMatch
    shares: tuple[Share, ...]


SplitKey = tuple[str, str]
"""Whose documents say it (a namespace, or a gateway's ``gateway NAMESPACE/NAME``), and the host."""


@dataclass(frozen=True, slots=True, eq=False)
class Intents:
    """What a mesh means to the graph; made once per Mesh. `homes` tells the node of each workload, `labels` those of a
    node's workloads, `spaces` by whose documents a node calls. `calls` are pairs of nodes that documents lead from one
    to the other; `splits` by whom and host, `split_hosts` the keys that divide calls to a node. `objects` are the nodes
    that a document is about. Compared by identity."""

    places: Mapping[str, Place]
    homes: Mapping[str, str]
    labels: Mapping[str, tuple[Labels, ...]]
    spaces: Mapping[str, str]
    calls: frozenset[tuple[str, str]]
    splits: Mapping[SplitKey, Split]
    split_hosts: Mapping[str, tuple[SplitKey, ...]]
    objects: Mapping[ObjectKey, frozenset[str]]


NO_INTENTS = Intents({}, {}, {}, {}, frozenset(), {}, {}, {})


def build_intents(mesh: Mesh) -> Intents:
    """What the documents and workloads of a mesh ask for."""
    found = _Found(mesh)
    for service in mesh.services.all:
        found.service(service)
    for workload in mesh.workloads:
        found.workload(workload)
    for workload in mesh.workloads:
        found.declared(workload)
    for namespace, routes in mesh.routes.namespaces.items():
        for host, rules in routes.hosts.items():
            found.rules((namespace, host), [rule for port in rules.ports.values() for rule in port])
    for gateway in mesh.gateways.by_name.values():
        found.gateway(gateway)
    hosts: dict[str, list[SplitKey]] = {}
    for key, split in found.splits.items():
        for callee in dict.fromkeys(share.callee for share in split.shares):
            hosts.setdefault(callee, []).append(key)
    return Intents(
        places=MappingProxyType(found.with_versions()),
        homes=MappingProxyType(found.homes),
        labels=MappingProxyType({node: tuple(labels) for node, labels in found.labels.items()}),
        spaces=MappingProxyType(found.spaces),
        calls=frozenset(found.calls),
        splits=MappingProxyType(found.splits),
        split_hosts=MappingProxyType({callee: tuple(keys) for callee, keys in hosts.items()}),
        objects=MappingProxyType({key: frozenset(nodes) for key, nodes in found.objects.items()}),
    )


@dataclass(slots=True)
class _Found:
    """What has been found so far; lives only within `build_intents`."""

    mesh: Mesh
    places: dict[str, Place] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    labels: dict[str, list[Labels]] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    calls: set[tuple[str, str]] = field(default_factory=set)
    splits: dict[SplitKey, Split] = field(default_factory=dict)
    objects: dict[ObjectKey, set[str]] = field(default_factory=dict)

    def service(self, service: Service) -> None:
        """A service."""
        frontend = service.frontend
        node = node_of(frontend)
        kind = "outside" if frontend.location is Location.OUTSIDE else "service"
        self.places[node] = Place(node, kind, frontend.name, frontend.namespace)
        self.spaces[node] = frontend.namespace
        self._about(frontend.key, node)

    def workload(self, workload: Workload) -> None:
        """A workload's home is the first service that selects it; a gateway, or one that no service selects, has a node
        of its own."""
        name = f"{workload.namespace}/{workload.name}"
        home = self._service_of(workload)
        if home is None:
            home = f"workload {name}"
            kind = "gateway" if workload.gateway is not None else "workload"
            self.places[home] = Place(home, kind, workload.name, workload.namespace)
            self.spaces[home] = workload.namespace
        if workload.gateway is not None:
            self.spaces[home] = f"gateway {workload.namespace}/{workload.gateway.gateway}"
        self.homes[name] = home
        self.labels.setdefault(home, []).append(workload.labels)
        versions = self.versions.setdefault(home, {})
        versions.setdefault(canonical_revision(workload), []).append(name)

    def _service_of(self, workload: Workload) -> str | None:
        if workload.gateway is not None:
            return None
        by_selector = self.mesh.catalog.by_selector
        near = (by_selector.get(selector_key(workload.namespace, pair), ()) for pair in workload.labels)
        found = (one.name for some in near for one in some if selects(one.selector, workload.labels))
        first = min(found, default=None)
        return None if first is None else f"{workload.namespace}/{first}"

    def declared(self, workload: Workload) -> None:
        """The services that a workload says it uses."""
        caller = self.homes[f"{workload.namespace}/{workload.name}"]
        for host in (*workload.uses, *(upstream.service for upstream in workload.upstreams)):
            frontend = self.mesh.catalog.find(host, workload.namespace)
            if frontend is not None:
                self.calls.add((caller, node_of(frontend)))

    def with_versions(self) -> dict[str, Place]:
        """All nodes, with their workloads by version."""
        return {
            node: replace(
                place, versions=tuple((name, tuple(some)) for name, some in sorted(self.versions.get(node, {}).items()))
            )
            for node, place in self.places.items()
        }

    def rules(self, key: SplitKey, rules: Iterable[Rule]) -> None:
        """The rules of a host: what they divide, and what other services they lead to."""
        _, host = key
        frontend = self.mesh.catalog.by_host.get(host)
        home = node_of(frontend) if frontend is not None else ""
        for rule in rules:
            callees = set(self._callees(rule))
            if rule.object is not None:
                for node in (home, *callees):
                    self._about(rule.object, node)
            if home:
                self.calls.update((home, callee) for callee in callees if callee != home)
        self._split(key, rules)

    def gateway(self, gateway: GatewayModel) -> None:
        """The routes of a Gateway: each proxy that serves it calls what they lead to."""
        space = f"gateway {gateway.name}"
        proxies = [node for node, other in self.spaces.items() if other == space]
        for node in proxies:
            for key in gateway.keys:
                self._about(key, node)
        for port, hosts in gateway.hosts.items():
            for each in hosts:
                routes = (route for group in (each.routes, *each.wider) for route in group)
                rules = [
                    rule
                    for route, name in routes
                    for rule in route.kind.rules(route.document, port, name, route.referents).rules
                ]
                for rule in rules:
                    self._lead(rule, proxies)
                self._split((space, each.host), rules)

    def _lead(self, rule: Rule, proxies: Iterable[str]) -> None:
        callees = set(self._callees(rule))
        self.calls.update((node, callee) for node in proxies for callee in callees)
        if rule.object is not None:
            for node in (*proxies, *callees):
                self._about(rule.object, node)

    def _callees(self, rule: Rule) -> Iterator[str]:
        return (self._node(backend) for backend in rule.backends())

    def _node(self, backend: BackendKey) -> str:
        frontend = self.mesh.catalog.by_host.get(backend.host)
        return node_of(frontend) if frontend is not None else backend.host

    def _about(self, key: ObjectKey, node: str) -> None:
        if node:
            self.objects.setdefault(key, set()).add(node)

    def _split(self, key: SplitKey, rules: Iterable[Rule]) -> None:
        """The first rule that takes every request says how a host's requests are divided."""
        for rule in rules:
            if rule.match.everything and isinstance(rule.action, Forward) and rule.object is not None:
                backends = [(one.backend, one.weight) for one in rule.action.backends if one.backend is not None]
                total = sum(weight for _, weight in backends)
                if total and (len(backends) > 1 or backends[0][0].subset):
                    shares = tuple(self._share(backend, weight / total) for backend, weight in backends)
                    self.splits.setdefault(key, Split(str(rule.object), rule.source, shares))
                return

    def _share(self, backend: BackendKey, asked: float) -> Share:
        node = self._node(backend)
        target = self.mesh.targets.by_key.get(backend)
        endpoints = target.endpoints.endpoints if target is not None and target.endpoints is not None else ()
        workloads = frozenset(map(_workload_of, endpoints))
        return Share(f"{node} {backend.subset}" if backend.subset else node, node, workloads, asked)


def node_of(frontend: Frontend) -> str:
    """The node of a service, which is called as the calls to it are told: a host outside by its name."""
    return f"{frontend.namespace}/{frontend.name}" if frontend.is_service else frontend.host


def _workload_of(endpoint: Endpoint) -> str:
    name, _, namespace = endpoint.workload.rpartition(".")
    return f"{namespace}/{name}"
