"""Endpoints: which workloads stand behind each service port, and in which state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.policies.peerauthentication import PeerPolicies, PeerPolicy
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog, FrontendDocument, SelectorKey, selector_key, selector_keys, slices_key
from weft.mesh.services.instances import health_of, member_endpoints
from weft.mesh.services.member import Member
from weft.mesh.services.service import BY_CALLER, BY_DNS, Endpoint, Frontend, MutualTlsMode, Resolution, Service
from weft.model.addresses import is_ip_address
from weft.model.identity import SpiffeId
from weft.model.labels import Labels, selects
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.workload import GatewayBinding, Workload, WorkloadPort
from weft.schema.kinds.core import ServiceSpec


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
    memo: Memo,
    catalog: Catalog,
    workloads: tuple[Workload, ...],
    peers: PeerPolicies,
    trust_domain: str,
    members: tuple[Member, ...] = (),
) -> Services:
    """Every service with its endpoints: those of registered workloads, and of the `members` that documents describe.
    One of these that changes costs its services, not all of them."""
    selected = memo.groups(_keys_of_workload, _name, workloads, catalog.selected_labels)
    keys = memo.rows(_key_of_frontend, (catalog.frontends,))
    candidates = [selected.get(key, ()) if key is not None else () for key in keys]
    described = memo.groups(_keys_of_member, _member_name, members, catalog.selected_labels) if members else {}
    beside = [described.get(key, ()) if key is not None else () for key in keys] if members else [()] * len(keys)
    policies = [peers.of(frontend.namespace) for frontend in catalog.frontends]
    columns = (catalog.documents, catalog.frontends, candidates, policies, beside)
    served = memo.rows(build_service, columns, trust_domain)
    return memo.over(_services, served, memo)


def _services(served: tuple[Served, ...], memo: Memo) -> Services:
    services = tuple([one.service for one in served])
    problems = tuple([problem for one in served if one.problems for problem in one.problems])
    idle = tuple([one.idle for one in served if one.idle is not None])
    return Services(services, memo.table(_by_host, services), problems, idle)


def _by_host(service: Service) -> Iterable[tuple[str, Service]]:
    return ((service.frontend.host, service),)


def _keys_of_workload(workload: Workload, labels: tuple[str, ...]) -> tuple[SelectorKey, ...]:
    """Where services may look for it."""
    return tuple([selector_key(workload.namespace, pair) for pair in workload.labels if pair[0] in labels])


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _keys_of_member(member: Member, labels: tuple[str, ...]) -> tuple[SelectorKey, ...]:
    if member.service:
        return (slices_key(member.key.namespace, member.service),)
    return tuple([selector_key(member.key.namespace, pair) for pair in member.labels if pair[0] in labels])


def _member_name(member: Member) -> tuple[str, str]:
    return (member.key.namespace, member.key.name)


def _key_of_frontend(_memo: Memo, frontend: Frontend) -> SelectorKey | None:
    if not frontend.selector and frontend.is_service and frontend.resolution is Resolution.WORKLOADS:
        return slices_key(frontend.namespace, frontend.key.name)
    return next(iter(selector_keys(frontend)), None)


def build_service(
    memo: Memo,
    document: FrontendDocument,
    frontend: Frontend,
    candidates: tuple[Workload, ...],
    peers: PeerPolicy,
    members: tuple[Member, ...],
    trust_domain: str,
) -> Served:
    """`frontend` with the endpoints of those `candidates` and `members` that it selects, in order of their names."""
    selected = [workload for workload in candidates if selects(frontend.selector, workload.labels)]
    described = _described(memo, frontend, members)
    if not selected and not described:
        return Served(Service(frontend), idle=memo(_idle, document, frontend.selector) if frontend.selector else None)
    called = [each for each in selected if health_of(each.state, unready=frontend.unready) is not None]
    chosen = [workload for workload in called if workload.gateway is None]
    gates = [(workload, workload.gateway) for workload in called if workload.gateway]
    endpoints = tuple(
        [
            tuple(
                [
                    memo(build_endpoint, memo, workload, served, peers, trust_domain, frontend.unready)
                    for workload in chosen
                    if (served := port_behind(frontend, port.target, workload)) is not None
                ]
                + [
                    memo(build_gateway_endpoint, memo, *gate, port.number, trust_domain, frontend.unready)
                    for gate in gates
                ]
                + member_endpoints(memo, described, port, frontend, trust_domain)
            )
            for port in frontend.ports
        ]
    )
    service = Service(frontend, endpoints, _datagrams(memo, frontend, described, trust_domain))
    applications = [workload for workload in selected if workload.gateway is None]
    problems = _target_problems(document, frontend, applications) if applications else []
    if applications and frontend.datagrams:
        problems.append(_without_datagrams(document, frontend))
    return Served(service, tuple(problems))


def _datagrams(
    memo: Memo, frontend: Frontend, described: tuple[Member, ...], trust_domain: str
) -> tuple[tuple[int, tuple[Endpoint, ...]], ...]:
    """The instances behind each port for UDP. Those with a proxy of the mesh are none of them: it carries no UDP, and
    what is sent around it would be neither encrypted nor asked for anything. Nor are those whose address is a name:
    nobody asks DNS for them."""
    bare = tuple([member for member in described if not member.meshed and is_ip_address(member.address)])
    found = [member_endpoints(memo, bare, port, frontend, trust_domain) for port in frontend.datagrams]
    return tuple((port.number, tuple(endpoints)) for port, endpoints in zip(frontend.datagrams, found, strict=True))


def _without_datagrams(document: FrontendDocument, frontend: Frontend) -> Problem:
    """Workloads of the mesh are selected for a port that they do not serve."""
    number = frontend.datagrams[0].number
    ports = document.spec.ports if isinstance(document.spec, ServiceSpec) else ()
    index = next((place for place, port in enumerate(ports) if port.protocol == "UDP"), 0)
    message = f"proxies of workloads carry no UDP, so none of the workloads it selects serves port {number}/UDP"
    expected = "WorkloadEntries with its labels, for a UDPRoute of a Gateway"
    path: FieldPath = ("spec", "ports", index, "protocol")
    return problem_at(document, path, "udp-not-served", message, expected, severity=Severity.WARNING)


def _described(memo: Memo, frontend: Frontend, members: tuple[Member, ...]) -> tuple[Member, ...]:
    """The instances behind a frontend that documents describe: its own, what it selects, those that a cluster tells of
    it where it selects nothing, or else what its host is called in DNS."""
    if frontend.members:
        return frontend.members
    if frontend.selector:
        return tuple([member for member in members if selects(frontend.selector, member.labels)])
    if members:
        return members
    by_name = frontend.resolution in BY_DNS or (frontend.resolution in BY_CALLER and not frontend.by_caller)
    return (memo(Member, frontend.key, frontend.origin, frontend.called),) if by_name else ()


def _idle(document: FrontendDocument, selector: Labels) -> Problem:
    labels = ",".join(f"{name}={value}" for name, value in selector)
    message = (
        f"no workload in namespace '{document.key.namespace}' has the labels {labels}, so nothing is behind the service"
    )
    expected = f"a workload run with --labels {labels}"
    path = ("spec", "selector" if isinstance(document.spec, ServiceSpec) else "workloadSelector")
    return problem_at(document, path, "selects-nothing", message, expected, severity=Severity.WARNING)


def build_endpoint(
    memo: Memo, workload: Workload, port: WorkloadPort, peers: PeerPolicy, trust_domain: str, unready: bool = False
) -> Endpoint:
    """The endpoint of a workload's port, which may be called by now: see `health_of`."""
    health = health_of(workload.state, unready=unready)
    assert health is not None  # noqa: S101 - see `build_service`
    return Endpoint(
        workload=workload.proxy,
        address=port.inbound,
        health=health,
        identity=memo(SpiffeId, trust_domain, workload.namespace, workload.service_account),
        labels=workload.labels,
        mutual_tls=peers.mode(workload.labels, port.port) is not MutualTlsMode.DISABLE,
        locality=workload.place,
        weight=workload.weight,
    )


def build_gateway_endpoint(
    memo: Memo, workload: Workload, binding: GatewayBinding, port: int, trust_domain: str, unready: bool = False
) -> Endpoint:
    """Where a gateway listens for the port of a service that leads to it: its listener of that number. What callers
    have to prove there is said by its listener, and to them by a DestinationRule."""
    health = health_of(workload.state, unready=unready)
    assert health is not None  # noqa: S101 - see `build_service`
    return Endpoint(
        workload=workload.proxy,
        address=binding.bind(port),
        health=health,
        identity=memo(SpiffeId, trust_domain, workload.namespace, workload.service_account),
        labels=workload.labels,
        mutual_tls=False,
        locality=workload.place,
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


def _target_problems(document: FrontendDocument, frontend: Frontend, selected: Sequence[Workload]) -> list[Problem]:
    """Ports of a service that none of the workloads it selects serves."""
    found: list[Problem] = []
    spec = document.spec
    carried = [not isinstance(spec, ServiceSpec) or port.protocol == "TCP" for port in spec.ports]
    places = [index for index, each in enumerate(carried) if each]
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
