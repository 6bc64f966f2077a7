"""Endpoints: which workloads stand behind each service port, and in which state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.policies.peerauthentication import PeerPolicies, PeerPolicy
from weft.mesh.services.catalog import Handle, ServiceDocument, selector_handles, target_of
from weft.mesh.services.service import Endpoint, Health, MutualTlsMode, Service
from weft.model.identity import SpiffeId
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload, WorkloadPort, WorkloadState

_HEALTH = {
    WorkloadState.HEALTHY: Health.HEALTHY,
    WorkloadState.UNHEALTHY: Health.UNHEALTHY,
    WorkloadState.DRAINING: Health.DRAINING,
}


def index_workloads(workloads: Iterable[Workload], handles: Iterable[Handle | None]) -> dict[Handle, list[Workload]]:
    """The workloads (no gateways) under each handle, in the order given. One pass over the workloads."""
    found: dict[Handle, list[Workload]] = {handle: [] for handle in handles if handle}
    keys = {handle[1][0] for handle in found}
    for workload in workloads:
        if workload.gateway is not None:
            continue
        namespace = workload.namespace
        for pair in workload.labels:
            if pair[0] in keys and (group := found.get((namespace, pair))) is not None:
                group.append(workload)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A service with its endpoints, and what is wrong between it and its workloads."""

    service: Service
    problems: tuple[Problem, ...] = ()


def build_services(
    memo: Memo,
    documents: tuple[ServiceDocument, ...],
    frontends: tuple[Service, ...],
    workloads: tuple[Workload, ...],
    peers: PeerPolicies,
    trust_domain: str,
) -> tuple[tuple[Service, ...], tuple[Problem, ...]]:
    """Every service with its endpoints, in the order of `documents`, and what is wrong."""
    handles = memo.over(selector_handles, documents)
    index = index_workloads(workloads, handles)
    services: list[Service] = []
    problems: list[Problem] = []
    for document, frontend, handle in zip(documents, frontends, handles, strict=True):
        candidates = index[handle] if handle is not None else ()
        if not candidates:
            services.append(frontend)
            continue
        policy = peers.of(frontend.namespace)
        served = memo.over(build_service, candidates, memo, document, frontend, policy, trust_domain)
        services.append(served.service)
        problems += served.problems
    return tuple(services), tuple(problems)


def build_service(
    candidates: tuple[Workload, ...],
    memo: Memo,
    document: ServiceDocument,
    frontend: Service,
    peers: PeerPolicy,
    trust_domain: str,
) -> Served:
    """`frontend` with the endpoints of those `candidates` that the service selects, in order of their names."""
    selector: Labels = labels_from_mapping(document.spec.selector)
    selected = sorted((item for item in candidates if selects(selector, item.labels)), key=lambda item: item.name)
    chosen = [item for item in selected if item.state in _HEALTH]
    ports = []
    for port, spec in zip(frontend.ports, document.spec.ports, strict=True):
        target = target_of(spec)
        found = (build_endpoint(memo, item, target, peers, trust_domain) for item in chosen)
        endpoints = tuple(endpoint for endpoint in found if endpoint is not None)
        ports.append(replace(port, endpoints=endpoints))
    service = replace(frontend, ports=tuple(ports)) if chosen else frontend
    return Served(service, tuple(target_port_problems(document, selected)))


def build_endpoint(
    memo: Memo, workload: Workload, target: int | str, peers: PeerPolicy, trust_domain: str
) -> Endpoint | None:
    """The endpoint of a workload for a target port, or None if it has no such port."""
    port = workload.port(target)
    if port is None:
        return None
    return Endpoint(
        workload=workload.proxy,
        address=port.inbound,
        health=_HEALTH[workload.state],
        identity=memo(SpiffeId, trust_domain, workload.namespace, workload.service_account),
        labels=workload.labels,
        mutual_tls=peers.mode(workload.labels, port.port) is not MutualTlsMode.DISABLE,
    )


def target_port_problems(document: ServiceDocument, selected: Sequence[Workload]) -> list[Problem]:
    """Ports of a service that none of the workloads it selects serves."""
    found: list[Problem] = []
    for index, port in enumerate(document.spec.ports):
        target = target_of(port)
        if not selected or any(item.port(target) for item in selected):
            continue
        named = isinstance(target, str)
        what = f"has a port called '{target}'" if named else f"serves port {target}"
        found.append(
            Problem(
                Severity.WARNING,
                "named-target-port" if named else "target-port-not-served",
                f"none of the workloads it selects {what}",
                document.at("spec", "ports", index),
                document.key,
                ("spec", "ports", index, "targetPort"),
                _expected_target(target, [port for item in selected for port in item.ports]),
            )
        )
    return found


def _expected_target(target: int | str, served: Sequence[WorkloadPort]) -> str:
    names = sorted({port.name for port in served if port.name})
    numbers = sorted({port.port for port in served})
    known = f"one of {', '.join(map(str, [*names, *numbers]))}, or " if served else ""
    option = f"--port {target}=PORT" if isinstance(target, str) else f"--port {target}"
    return f"{known}a workload run with {option}"
