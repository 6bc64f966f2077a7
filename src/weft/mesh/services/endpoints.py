"""Endpoints: which workloads stand behind each service port, and in which state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.policies.peerauthentication import PeerPolicies, PeerPolicy
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog, SelectorKey, ServiceDocument, selector_key, selector_keys
from weft.mesh.services.service import Endpoint, Frontend, Health, MutualTlsMode, Service
from weft.model.identity import SpiffeId
from weft.model.labels import selects
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload, WorkloadPort, WorkloadState

_HEALTH = {
    WorkloadState.HEALTHY: Health.HEALTHY,
    WorkloadState.UNHEALTHY: Health.UNHEALTHY,
    WorkloadState.DRAINING: Health.DRAINING,
}


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A service with its endpoints, and what is wrong between it and its workloads; `idle`, if it selects none."""

    service: Service
    problems: tuple[Problem, ...] = ()
    idle: Problem | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """Every service with its endpoints, in the order of the catalog, and by full name; `idle` tells of those that
    select no workload."""

    all: tuple[Service, ...]
    by_host: Mapping[str, Service]
    problems: tuple[Problem, ...]
    idle: tuple[Problem, ...] = ()


def build_services(
    memo: Memo, catalog: Catalog, workloads: tuple[Workload, ...], peers: PeerPolicies, trust_domain: str
) -> Services:
    """Every service with its endpoints. A workload that changes costs its services, not all of them."""
    selected = memo.groups(_keys_of_workload, _name, workloads, catalog.selected_labels)
    keys = memo.rows(_key_of_frontend, (catalog.frontends,))
    candidates = [selected.get(key, ()) if key is not None else () for key in keys]
    policies = [peers.of(frontend.namespace) for frontend in catalog.frontends]
    served = memo.rows(build_service, (catalog.documents, catalog.frontends, candidates, policies), trust_domain)
    return memo.over(_services, served, memo)


def _services(served: tuple[Served, ...], memo: Memo) -> Services:
    services = tuple([one.service for one in served])
    problems = tuple([problem for one in served if one.problems for problem in one.problems])
    idle = tuple([one.idle for one in served if one.idle is not None])
    return Services(services, memo.table(_by_host, services), problems, idle)


def _by_host(service: Service) -> Iterable[tuple[str, Service]]:
    return ((service.frontend.host, service),)


def _keys_of_workload(workload: Workload, labels: tuple[str, ...]) -> tuple[SelectorKey, ...]:
    """Where services may look for it. Gateways stand behind no service."""
    if workload.gateway is not None:
        return ()
    return tuple([selector_key(workload.namespace, pair) for pair in workload.labels if pair[0] in labels])


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _key_of_frontend(_memo: Memo, frontend: Frontend) -> SelectorKey | None:
    return next(iter(selector_keys(frontend)), None)


def build_service(
    memo: Memo,
    document: ServiceDocument,
    frontend: Frontend,
    candidates: tuple[Workload, ...],
    peers: PeerPolicy,
    trust_domain: str,
) -> Served:
    """`frontend` with the endpoints of those `candidates` that it selects, in order of their names."""
    selected = [workload for workload in candidates if selects(frontend.selector, workload.labels)]
    chosen = [workload for workload in selected if workload.state in _HEALTH]
    if not selected:
        return Served(Service(frontend), idle=memo(_idle, document) if frontend.selector else None)
    endpoints = tuple(
        [
            tuple(
                [
                    memo(build_endpoint, memo, workload, served, peers, trust_domain)
                    for workload in chosen
                    if (served := port_behind(frontend, port.target, workload)) is not None
                ]
            )
            for port in frontend.ports
        ]
    )
    return Served(Service(frontend, endpoints), tuple(_target_problems(document, frontend, selected)))


def _idle(document: ServiceDocument) -> Problem:
    labels = ",".join(f"{name}={value}" for name, value in sorted(document.spec.selector.items()))
    message = (
        f"no workload in namespace '{document.key.namespace}' has the labels {labels}, so nothing is behind the service"
    )
    expected = f"a workload run with --labels {labels}"
    path = ("spec", "selector")
    return problem_at(document, path, "selects-nothing", message, expected, severity=Severity.WARNING)


def build_endpoint(
    memo: Memo, workload: Workload, port: WorkloadPort, peers: PeerPolicy, trust_domain: str
) -> Endpoint:
    """The endpoint of a workload's port."""
    return Endpoint(
        workload=workload.proxy,
        address=port.inbound,
        health=_HEALTH[workload.state],
        identity=memo(SpiffeId, trust_domain, workload.namespace, workload.service_account),
        labels=workload.labels,
        mutual_tls=peers.mode(workload.labels, port.port) is not MutualTlsMode.DISABLE,
    )


def port_behind(frontend: Frontend, target: int | str, workload: Workload) -> WorkloadPort | None:
    """The port of a workload that a targetPort of the service means: its number or its name.

    A name that none of its ports has means its only port, where that can have one meaning: it has no name of its own,
    and no other target of the service means it.
    """
    found = workload.port(target)
    if found is not None or isinstance(target, int) or len(workload.ports) != 1 or workload.ports[0].name:
        return found
    only = workload.ports[0]
    others = {port.target for port in frontend.ports} - {target}
    return None if any(isinstance(other, str) or other == only.port for other in others) else only


def _target_problems(document: ServiceDocument, frontend: Frontend, selected: Sequence[Workload]) -> list[Problem]:
    """Ports of a service that none of the workloads it selects serves."""
    found: list[Problem] = []
    places = [index for index, port in enumerate(document.spec.ports) if port.protocol == "TCP"]
    for index, port in zip(places, frontend.ports, strict=True):
        target = port.target
        if any(port_behind(frontend, target, workload) for workload in selected):
            continue
        named = isinstance(target, str)
        what = f"has a port called '{target}'" if named else f"serves port {target}"
        path: FieldPath = ("spec", "ports", index, "targetPort")
        code = "named-target-port" if named else "target-port-not-served"
        message = f"none of the workloads it selects {what}"
        expected = _expected_target(target, [port for workload in selected for port in workload.ports])
        found.append(problem_at(document, path, code, message, expected, severity=Severity.WARNING))
    return found


def _expected_target(target: int | str, served: Sequence[WorkloadPort]) -> str:
    names = sorted({port.name for port in served if port.name})
    numbers = sorted({port.port for port in served})
    known = f"one of {', '.join(map(str, [*names, *numbers]))}, or " if served else ""
    option = f"--port {target}=PORT" if isinstance(target, str) else f"--port {target}"
    return f"{known}a workload run with {option}"
