"""Ports: names that say no protocol, or another one than the number or another Service does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from weft.findings.analysis.subject import Subject, listed
from weft.findings.finding import Finding, finding
from weft.mesh.services.catalog import ServiceDocument
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.protocols import protocol_of_port
from weft.mesh.services.service import Frontend, Protocol
from weft.model.document import ObjectKey
from weft.schema.kinds.core import ServicePortSpec, ServiceSpec

_KNOWN = {
    3306: "MySQL's",
    5432: "PostgreSQL's",
    5672: "AMQP's",
    6379: "Redis'",
    9092: "Kafka's",
    11211: "memcached's",
    27017: "MongoDB's",
}
_HTTP = (Protocol.HTTP, Protocol.HTTP2, Protocol.WEBSOCKET)


def port_name_without_protocol(subject: Subject) -> Iterator[Finding]:
    """Ports whose protocol each caller's proxy has to find out."""
    for document, index, port in _ports(subject):
        if protocol_of_port(port) is Protocol.AUTO:
            named = f"is called '{port.name}'" if port.name else "has no name"
            text = f"port {port.port} {named}: callers' proxies look at the first bytes to tell what it speaks"
            origin = document.at("spec", "ports", index)
            yield finding("port-name-without-protocol", text, object=document.key, origin=origin)


def port_name_against_protocol(subject: Subject) -> Iterator[Finding]:
    """Ports whose name and appProtocol, or number, say different things."""
    for document, index, port in _ports(subject):
        means = protocol_of_port(port)
        named = protocol_of_port(ServicePortSpec(port=port.port, name=port.name))
        origin = document.at("spec", "ports", index)
        if port.app_protocol and Protocol.AUTO not in (named, means) and named is not means:
            text = f"port {port.port} is called '{port.name}' and has appProtocol {port.app_protocol}, which counts"
        elif means in _HTTP and port.port in _KNOWN:
            text = f"port {port.port} is said to speak {means.value}, and the number is {_KNOWN[port.port]}"
        else:
            continue
        yield finding("port-name-against-protocol", text, object=document.key, origin=origin)


def _ports(subject: Subject) -> Iterator[tuple[ServiceDocument, int, ServicePortSpec]]:
    for document in subject.mesh.catalog.documents:
        spec = document.spec
        if isinstance(spec, ServiceSpec) and spec.type != "ExternalName":
            for index, port in enumerate(spec.ports):
                if port.protocol == "TCP":
                    yield cast(ServiceDocument, document), index, port


def ports_disagree(subject: Subject) -> Iterator[Finding]:
    """Ports of workloads that two Services take for different protocols."""
    told: set[tuple[ObjectKey, ...]] = set()
    for workload in subject.mesh.workloads:
        frontends = subject.mesh.catalog.selecting(workload.namespace, workload.labels)
        said: dict[int, dict[Protocol, Frontend]] = {}
        for frontend in frontends:
            for port in frontend.ports:
                behind = port_behind(frontend, port.target, workload)
                if behind is not None and port.protocol is not Protocol.AUTO:
                    said.setdefault(behind.port, {}).setdefault(port.protocol, frontend)
        for number, by_protocol in said.items():
            keys = tuple(each.key for each in by_protocol.values())
            if len(by_protocol) < 2 or keys in told:
                continue
            told.add(keys)
            words = listed(f"{protocol.value} by {each.key}" for protocol, each in by_protocol.items())
            last = list(by_protocol.values())[-1]
            text = f"port {number} of {workload.name} is {words}"
            yield finding("ports-disagree", text, object=last.key, origin=last.origin)


def no_http_probe(subject: Subject) -> Iterator[Finding]:
    """Workloads with HTTP ports whose health is taken from an open port."""
    for name, origin in subject.unprobed:
        text = f"{name} has no HTTP health check: it is taken for healthy as soon as its port is open"
        yield finding("no-http-probe", text, about=f"workload {name}", origin=origin)
