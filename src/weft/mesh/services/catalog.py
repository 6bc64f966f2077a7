"""The catalog: every service by name, without endpoints. Routes are made from it, so instances do not touch them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.hosts import host_candidates, service_host
from weft.mesh.services.service import Frontend, FrontendPort, Location, Protocol, Resolution
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.problem import Problem, Severity
from weft.schema.hosts import means_outside
from weft.schema.kinds.core import ServicePortSpec, ServiceSpec

ServiceDocument = Document[ServiceSpec]
SelectorKey = str
"""A namespace and one label: everything that a service of that key selects carries the label. One text, because its
hash is kept."""

_HTTP2 = ("http2", "grpc", "h2c", "grpc-web")
_TCP = ("tcp", "https", "tls", "mongo", "mysql", "redis", "postgres", "postgresql")
_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.WEBSOCKET,
    "kubernetes.io/wss": Protocol.TCP,
}


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All frontends, sorted by namespace and name, and by full name; `documents` and `hosts` (full names) are theirs in
    the same order.

    `selected_labels` are the label names that selector keys use. Compared by identity.
    """

    documents: tuple[ServiceDocument, ...]
    frontends: tuple[Frontend, ...]
    hosts: tuple[str, ...]
    by_host: Mapping[str, Frontend]
    by_selector: Mapping[SelectorKey, tuple[Frontend, ...]]
    by_namespace: Mapping[str, tuple[Frontend, ...]]
    selected_labels: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    def full_name(self, host: str, namespace: str) -> str:
        """What `host` means in a document of `namespace`; the literal name if no service has any of its readings."""
        candidates = host_candidates(host, namespace)
        return next((name for name in candidates if name in self.by_host), candidates[0])

    def find(self, host: str, namespace: str) -> Frontend | None:
        """The service that `host` names in a document of `namespace`."""
        return self.by_host.get(self.full_name(host, namespace))

    def named(self, name: str, namespace: str) -> Frontend | None:
        """The service `namespace`/`name`."""
        return self.by_host.get(service_host(name, namespace))

    def names_in(self, namespace: str) -> tuple[str, ...]:
        """The names of a namespace's services."""
        return tuple(frontend.name for frontend in self.by_namespace.get(namespace, ()))

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


def _selected_label(frontend: Frontend) -> str:
    """The name of the label in a service's selector key."""
    return next((name for name, _ in frontend.selector if name == "app"), frontend.selector[0][0])


def build_catalog(documents: tuple[ServiceDocument, ...], memo: Memo) -> Catalog:
    """All services of `documents`, which are sorted by namespace and name."""
    frontends = memo.rows(build_frontend, (documents,))
    by_selector = memo.groups(selector_keys, _name, frontends)
    return Catalog(
        documents=documents,
        frontends=frontends,
        hosts=tuple([frontend.host for frontend in frontends]),
        by_host=memo.table(_by_host, frontends),
        by_selector=by_selector,
        by_namespace=memo.groups(_namespaces, _name, frontends),
        selected_labels=tuple(sorted({_selected_label(found[0]) for found in by_selector.values()})),
        problems=tuple(problem for found in memo.rows(service_problems, (documents,)) for problem in found),
    )


def build_frontend(_memo: Memo, document: ServiceDocument) -> Frontend:
    """A service as callers name it: ports and protocols, no endpoints."""
    spec, key = document.spec, document.key
    external = spec.type == "ExternalName"
    return Frontend(
        key=key,
        host=service_host(key.name, key.namespace),
        ports=tuple(
            FrontendPort(
                port.port,
                port.name,
                protocol_of_port(port),
                port.port if port.target_port is None else port.target_port,
            )
            for port in spec.ports
            if port.protocol == "TCP"
        ),
        origin=document.origin,
        resolution=Resolution.DNS if external else Resolution.WORKLOADS,
        location=Location.OUTSIDE if external else Location.MESH,
        selector=() if external else labels_from_mapping(spec.selector),
        address=spec.external_name if external else "",
    )


def protocol_of_port(port: ServicePortSpec) -> Protocol:
    """What a port speaks: appProtocol first, then the port name's part before the dash (Istio's rule), else AUTO."""
    word = port.app_protocol.lower()
    if word in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[word]
    return _protocol_of_word(word or port.name.lower().partition("-")[0])


def _protocol_of_word(word: str) -> Protocol:
    if word == "http":
        return Protocol.HTTP
    if word in _HTTP2:
        return Protocol.HTTP2
    if word == "ws":
        return Protocol.WEBSOCKET
    return Protocol.TCP if word in _TCP else Protocol.AUTO


def _name(frontend: Frontend) -> tuple[str, str]:
    return (frontend.namespace, frontend.name)


def _namespaces(frontend: Frontend) -> tuple[str, ...]:
    return (frontend.namespace,)


def _by_host(frontend: Frontend) -> Iterable[tuple[str, Frontend]]:
    return ((frontend.host, frontend),)


def service_problems(_memo: Memo, document: ServiceDocument) -> tuple[Problem, ...]:
    """What is wrong with a Service alone."""
    return tuple(_service_problems(document))


def _service_problems(document: ServiceDocument) -> Iterator[Problem]:
    name, namespace = document.key.name, document.key.namespace
    if not any(port.protocol == "TCP" for port in document.spec.ports):
        message = "the service has no ports, so nothing can call it through the mesh"
        path = ("spec", "ports")
        yield problem_at(document, path, "no-ports", message, "at least one port", severity=Severity.WARNING)
    for short, field in ((name, "name"), (f"{name}.{namespace}", "namespace")):
        if means_outside(short):
            message = f"'{short}' stays a host outside the mesh: callers reach this service as '{name}.{namespace}.svc'"
            expected = f"another {field}, where the short name is wanted"
            path = ("metadata", field)
            yield problem_at(document, path, "no-short-name", message, expected, severity=Severity.WARNING)
