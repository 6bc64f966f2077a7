"""The catalog: every service by name, without endpoints. Routes are made from it, so instances do not touch them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.services.hosts import host_candidates, service_host
from weft.mesh.services.service import Protocol, Service, ServicePort
from weft.model.document import Document
from weft.model.labels import Labels
from weft.model.problem import Problem, Severity
from weft.schema.kinds.core import ServicePortSpec, ServiceSpec

ServiceDocument = Document[ServiceSpec]
Handle = tuple[str, tuple[str, str]]
"""A namespace and one label: everything a service of that handle selects carries the label."""

_HTTP2 = ("http2", "grpc", "h2c", "grpc-web")
_TCP = ("tcp", "https", "tls", "mongo", "mysql", "redis", "postgres", "postgresql")
_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.WEBSOCKET,
    "kubernetes.io/wss": Protocol.TCP,
}


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Services by full name; `documents` are theirs, in the same order. Compared by identity."""

    services: Mapping[str, Service]
    documents: Mapping[str, ServiceDocument]
    problems: tuple[Problem, ...] = ()
    by_handle: Mapping[Handle, tuple[ServiceDocument, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def full_name(self, host: str, namespace: str) -> str:
        """What `host` means in a document of `namespace`; the literal name if no service has any of its readings."""
        candidates = host_candidates(host, namespace)
        return next((name for name in candidates if name in self.services), candidates[0])

    def find(self, host: str, namespace: str) -> Service | None:
        """The service that `host` names in a document of `namespace`."""
        return self.services.get(self.full_name(host, namespace))

    def named(self, name: str, namespace: str) -> Service | None:
        """The service `namespace`/`name`."""
        return self.services.get(service_host(name, namespace))

    def documents_for(self, namespace: str, labels: Labels) -> tuple[ServiceDocument, ...]:
        """Services of a namespace, among them all that select a workload with these labels."""
        found: list[ServiceDocument] = []
        for pair in labels:
            found += self.by_handle.get((namespace, pair), ())
        return tuple(found)


def selector_handle(document: ServiceDocument) -> Handle | None:
    """The handle of a service: its ``app`` label or else its first; None if it selects nothing."""
    selector = document.spec.selector
    if not selector or document.spec.type == "ExternalName":
        return None
    return (document.key.namespace, ("app", selector["app"]) if "app" in selector else min(selector.items()))


def selector_handles(documents: tuple[ServiceDocument, ...]) -> tuple[Handle | None, ...]:
    """`selector_handle` of each."""
    return tuple(selector_handle(document) for document in documents)


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


def target_of(port: ServicePortSpec) -> int | str:
    """The port of a workload that a service's port leads to: its number or its name."""
    return port.port if port.target_port is None else port.target_port


def build_frontend(document: ServiceDocument) -> Service:
    """A service as callers name it: ports and protocols, no endpoints."""
    spec = document.spec
    ports = tuple(ServicePort(port.port, port.name, protocol_of_port(port), ()) for port in spec.ports)
    return Service(
        name=document.key.name,
        namespace=document.key.namespace,
        host=service_host(document.key.name, document.key.namespace),
        ports=ports,
        origin=document.origin,
        external_name=spec.external_name if spec.type == "ExternalName" else "",
    )


def build_catalog(documents: tuple[ServiceDocument, ...], frontends: tuple[Service, ...]) -> Catalog:
    """All services; `frontends` are those of `documents` in the same order."""
    problems: list[Problem] = []
    by_handle: dict[Handle, list[ServiceDocument]] = {}
    for document in documents:
        handle = selector_handle(document)
        if handle is not None:
            by_handle.setdefault(handle, []).append(document)
        problems += _service_problems(document)
    return Catalog(
        services=MappingProxyType({service.host: service for service in frontends}),
        documents=MappingProxyType({s.host: d for d, s in zip(documents, frontends, strict=True)}),
        problems=tuple(problems),
        by_handle=MappingProxyType({handle: tuple(found) for handle, found in by_handle.items()}),
    )


def _service_problems(document: ServiceDocument) -> list[Problem]:
    spec, found = document.spec, []
    if not spec.ports:
        found.append(
            Problem(
                Severity.WARNING,
                "no-ports",
                "the service has no ports, so nothing can call it through the mesh",
                document.origin,
                document.key,
                ("spec", "ports"),
                "at least one port",
            )
        )
    return found
