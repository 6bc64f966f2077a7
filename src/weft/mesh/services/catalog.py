"""The catalog: every service by name, without endpoints. Routes are made from it, so instances do not touch them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeGuard

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.exports import annotated_exports, exports_of, is_exported
from weft.mesh.services.hosts import best_match, host_candidates, service_host
from weft.mesh.services.member import Member
from weft.mesh.services.protocols import carries_tls, protocol_of_port
from weft.mesh.services.service import Frontend, FrontendPort, Location, Resolution
from weft.mesh.services.serviceentry import ServiceEntryDocument, build_entry_frontends, settle_hosts
from weft.mesh.services.turning import NO_TURNINGS, Turnings, turned
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.problem import Problem, Severity
from weft.schema.hosts import clean_host, is_wildcard, means_outside
from weft.schema.kinds.core import ServicePortSpec, ServiceSpec
from weft.schema.kinds.serviceentry import ServiceEntrySpec

ServiceDocument = Document[ServiceSpec]
FrontendDocument = ServiceDocument | ServiceEntryDocument
SelectorKey = str
"""A namespace and one label: everything that a service of that key selects carries the label. One text, because its
hash is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All frontends: those of Services sorted by namespace and name, then those of ServiceEntries; and by full name.
    `documents` and `hosts` (full names) are theirs in the same order.

    `selected_labels` are the label names that selector keys use, `restricted` are those that not everybody is told of,
    `wildcards` the hosts that stand for many. `shared` says which frontend is meant by a host that several have, by
    namespace (empty: where nothing else is said) and host. Compared by identity.
    """

    documents: tuple[FrontendDocument, ...]
    frontends: tuple[Frontend, ...]
    hosts: tuple[str, ...]
    by_host: Mapping[str, Frontend]
    by_selector: Mapping[SelectorKey, tuple[Frontend, ...]]
    by_namespace: Mapping[str, tuple[Frontend, ...]]
    selected_labels: tuple[str, ...]
    restricted: tuple[Frontend, ...] = ()
    wildcards: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    shared: Mapping[str, Mapping[str, Frontend]] = field(default_factory=lambda: MappingProxyType({}))

    def full_name(self, host: str, namespace: str) -> str:
        """The host that `host` is short for in a document of `namespace`; the literal name if no service has any of
        its readings."""
        candidates = host_candidates(host, namespace)
        return next((name for name in candidates if name in self.by_host), candidates[0])

    def meant(self, host: str, namespace: str) -> str:
        """The full name of the service that `host` means in a document of `namespace`, or the literal name."""
        name = self.full_name(host, namespace)
        found = self._shared(name, namespace) if self.shared else None
        return name if found is None else found.host

    def _shared(self, host: str, namespace: str) -> Frontend | None:
        """What callers of a namespace mean by a host that several services have."""
        found = self.shared[namespace].get(host) if namespace in self.shared else None
        return self.shared[""].get(host) if found is None and "" in self.shared else found

    def tells(self, frontend: Frontend, namespace: str) -> bool:
        """Whether callers in a namespace are told of a service: it is exported to them, and they mean no other one by
        its host."""
        if not is_exported(frontend.exports, namespace):
            return False
        return not frontend.alias or self._shared(frontend.alias, namespace) is frontend

    def find(self, host: str, namespace: str) -> Frontend | None:
        """The service that `host` names in a document of `namespace`, if that is told of it."""
        found = self.by_host.get(self.meant(host, namespace))
        return found if found is None or self.tells(found, namespace) else None

    def called(self, host: str, namespace: str) -> Frontend | None:
        """The service that callers of `namespace` reach by calling `host`: also one for every name below a domain."""
        found = self.find(host, namespace)
        if found is not None or not self.wildcards:
            return found
        told = tuple([each for each in self.wildcards if self.tells(self.by_host[each], namespace)])
        pattern = best_match(told, clean_host(host))
        return self.by_host[pattern] if pattern is not None else None

    def hosts_for(self, namespace: str) -> tuple[str, ...]:
        """The full names of the services that callers in a namespace are told of."""
        if not self.restricted:
            return self.hosts
        return tuple([each.host for each in self.frontends if self.tells(each, namespace)])

    def named(self, name: str, namespace: str) -> Frontend | None:
        """The service `namespace`/`name`."""
        return self.by_host.get(service_host(name, namespace))

    def declared_by(self, key: ObjectKey) -> tuple[Frontend, ...]:
        """The hosts that an object declares: one for a Service, those that are its own for a ServiceEntry."""
        return tuple([each for each in self.by_namespace.get(key.namespace, ()) if each.key == key])

    def names_in(self, namespace: str) -> tuple[str, ...]:
        """The names of a namespace's services."""
        return tuple(each.name for each in self.by_namespace.get(namespace, ()) if each.is_service)

    def selecting(self, namespace: str, labels: Labels) -> tuple[Frontend, ...]:
        """The services of a namespace that select a workload with these labels."""
        found: list[Frontend] = []
        for pair in labels:
            candidates = self.by_selector.get(selector_key(namespace, pair), ())
            found += [frontend for frontend in candidates if selects(frontend.selector, labels)]
        return tuple(found)


def selector_keys(frontend: Frontend) -> tuple[SelectorKey, ...]:
    """The one key of a service: its ``app`` label or else its first; nothing if it selects nothing."""
    if not frontend.selector:
        return ()
    pair = next((pair for pair in frontend.selector if pair[0] == "app"), frontend.selector[0])
    return (selector_key(frontend.namespace, pair),)


def selector_key(namespace: str, label: tuple[str, str]) -> SelectorKey:
    """The key of what carries a label in a namespace."""
    return f"{namespace} {label[0]}={label[1]}"


def slices_key(namespace: str, service: str) -> SelectorKey:
    """The key of what is behind a Service that selects nothing. No label has an empty name."""
    return selector_key(namespace, ("", service))


def _selected_label(frontend: Frontend) -> str:
    """The name of the label in a service's selector key."""
    return next((name for name, _ in frontend.selector if name == "app"), frontend.selector[0][0])


def build_catalog(
    documents: tuple[ServiceDocument, ...],
    memo: Memo,
    entries: tuple[ServiceEntryDocument, ...] = (),
    exports: tuple[str, ...] = (),
    turnings: Turnings = NO_TURNINGS,
) -> Catalog:
    """All services of `documents` and `entries`, each sorted by namespace and name. `exports` say who is told of those
    that do not say it themselves; `turnings` are ports that change what they speak."""
    frontends = memo.rows(build_frontend, (documents,), exports)
    problems = tuple(problem for found in memo.rows(service_problems, (documents,)) for problem in found)
    every: tuple[FrontendDocument, ...] = documents
    if entries:
        declared = memo.rows(build_entry_frontends, (entries,), exports)
        outside, owners, taken = settle_hosts(memo, frontends, declared, entries)
        frontends, every, problems = (*frontends, *outside), (*documents, *owners), (*problems, *taken)
    if turnings:
        frontends = turned(memo, frontends, turnings)
    by_selector = memo.groups(selector_keys, _name, frontends)
    return Catalog(
        documents=every,
        frontends=frontends,
        hosts=tuple([frontend.host for frontend in frontends]),
        by_host=memo.table(_by_host, frontends),
        by_selector=by_selector,
        by_namespace=memo.groups(_namespaces, _name, frontends),
        selected_labels=tuple(sorted({_selected_label(found[0]) for found in by_selector.values()})),
        wildcards=tuple([each.host for each in frontends[len(documents) :] if is_wildcard(each.host)]),
        restricted=tuple([frontend for frontend in frontends if frontend.exports]),
        problems=problems,
        shared=_shared_hosts(frontends[len(documents) :]),
    )


def _shared_hosts(frontends: tuple[Frontend, ...]) -> Mapping[str, Mapping[str, Frontend]]:
    """Which of those that are called alike is meant, by namespace and host."""
    found: dict[str, dict[str, Frontend]] = {}
    for frontend in frontends:
        for namespace in (frontend.exports or ("",)) if frontend.alias else ():
            found.setdefault(namespace, {})[frontend.alias] = frontend
    return MappingProxyType(found)


def frontends_of(documents: Iterable[Document[object]]) -> list[Frontend]:
    """The services that these documents declare, whoever has their hosts."""
    found: list[Frontend] = []
    memo = Memo()
    for document in documents:
        if _is_service(document):
            found.append(build_frontend(memo, document))
        elif _is_service_entry(document):
            found += build_entry_frontends(memo, document)
    return found


def _is_service(document: Document[object]) -> TypeGuard[ServiceDocument]:
    return isinstance(document.spec, ServiceSpec)


def _is_service_entry(document: Document[object]) -> TypeGuard[ServiceEntryDocument]:
    return isinstance(document.spec, ServiceEntrySpec)


def build_frontend(_memo: Memo, document: ServiceDocument, exports: tuple[str, ...] = ()) -> Frontend:
    """A service as callers name it: ports and protocols, no endpoints."""
    spec, key = document.spec, document.key
    external = spec.type == "ExternalName"
    return Frontend(
        key=key,
        host=service_host(key.name, key.namespace),
        ports=tuple(_port(port, external) for port in spec.ports if port.protocol == "TCP"),
        origin=document.origin,
        resolution=Resolution.DNS_ROUND_ROBIN if external else Resolution.WORKLOADS,
        location=Location.OUTSIDE if external else Location.MESH,
        selector=() if external else labels_from_mapping(spec.selector),
        exports=exports_of(annotated_exports(document), key.namespace, exports),
        members=(Member(key, document.at("spec", "externalName"), spec.external_name),) if external else (),
        distribution=spec.traffic_distribution,
        unready=spec.publish_not_ready_addresses,
        datagrams=tuple(_port(port, external) for port in spec.ports if port.protocol == "UDP"),
    )


def _port(port: ServicePortSpec, external: bool) -> FrontendPort:
    target = port.port if external or port.target_port is None else port.target_port
    return FrontendPort(port.port, port.name, protocol_of_port(port), target, carries_tls(port))


def _name(frontend: Frontend) -> tuple[str, str, str]:
    return (frontend.namespace, frontend.name, frontend.host)


def _namespaces(frontend: Frontend) -> tuple[str, ...]:
    return (frontend.namespace,)


def _by_host(frontend: Frontend) -> Iterable[tuple[str, Frontend]]:
    return ((frontend.host, frontend),)


def service_problems(_memo: Memo, document: ServiceDocument) -> tuple[Problem, ...]:
    """What is wrong with a Service alone."""
    return tuple(_service_problems(document))


def _service_problems(document: ServiceDocument) -> Iterator[Problem]:
    name, namespace = document.key.name, document.key.namespace
    if not any(port.protocol in ("TCP", "UDP") for port in document.spec.ports):
        message = "the service has no ports, so nothing can call it through the mesh"
        path = ("spec", "ports")
        yield problem_at(document, path, "no-ports", message, "at least one port", severity=Severity.WARNING)
    for short, word in ((name, "name"), (f"{name}.{namespace}", "namespace")):
        if means_outside(short):
            message = f"'{short}' stays a host outside the mesh: callers reach this service as '{name}.{namespace}.svc'"
            expected = f"another {word}, where the short name is wanted"
            path = ("metadata", word)
            yield problem_at(document, path, "no-short-name", message, expected, severity=Severity.WARNING)
