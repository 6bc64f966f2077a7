"""Sidecar: which services the proxies of some workloads are told of, what they do with others, and how they serve.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import connection_limits
from weft.mesh.policies.scope import Policy, applicable, scope_in, settle
from weft.mesh.problems import one_of, problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.protocols import protocol_of_word
from weft.mesh.services.service import Frontend
from weft.mesh.views import InboundPort
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.snapshot import OutboundPolicy
from weft.model.workload import SocketAddress, Workload
from weft.schema.hosts import covers
from weft.schema.kinds.sidecar import EgressListener, IngressListener, SidecarSpec

SidecarDocument = Document[SidecarSpec]
Ports = tuple[int, ...]
Narrowed = tuple[tuple[str, Ports], ...]
"""Full names of services, sorted, each with those of its ports that may be called (none: all)."""


@dataclass(frozen=True, slots=True, eq=False)
class SidecarPolicy:
    """What holds for some workloads, each part as the narrowest document says it that says it at all. `egress` None:
    everything may be called; `allow_any` None: as the mesh says. Compared by identity."""

    egress: SidecarDocument | None = None
    allow_any: bool | None = None
    ingress: SidecarDocument | None = None
    pool: SidecarDocument | None = None


NO_SIDECAR = SidecarPolicy()


@dataclass(frozen=True, slots=True, eq=False)
class Sidecars:
    """All Sidecars in force. Compared by identity."""

    policies: tuple[Policy[SidecarSpec], ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, workload: Workload) -> tuple[SidecarDocument, ...]:
        """Those that are for a workload, the narrowest first."""
        return tuple(each.document for each in applicable(self.policies, workload.namespace, workload.labels))


NO_SIDECARS = Sidecars()


def build_sidecars(documents: tuple[SidecarDocument, ...], root_namespace: str) -> Sidecars:
    """The Sidecars in force; of two for the same workloads the oldest is."""
    given = [Policy(scope_in(each.key.namespace, root_namespace, _selector(each)), each) for each in documents]
    expected = "one Sidecar for each selector of a namespace, and one without"
    settled, problems = settle(given, ("spec", "workloadSelector"), "sidecar-conflict", expected)
    return Sidecars(settled, problems)


def _selector(document: SidecarDocument) -> Labels:
    selector = document.spec.workload_selector
    return labels_from_mapping(selector.labels) if selector else ()


def join(documents: tuple[SidecarDocument, ...]) -> SidecarPolicy:
    """What several documents come to, the narrowest first."""
    policies = [each.spec.outbound_traffic_policy for each in documents]
    mode = next((policy.mode for policy in policies if policy is not None), None)
    return SidecarPolicy(
        egress=next((each for each in documents if each.spec.egress), None),
        allow_any=None if mode is None else mode == OutboundPolicy.ALLOW_ANY,
        ingress=next((each for each in documents if each.spec.ingress), None),
        pool=next((each for each in documents if each.spec.inbound_connection_pool), None),
    )


# -- what is called ----------------------------------------------------------------------------------------------------


def narrowed(catalog: Catalog, document: SidecarDocument, namespace: str) -> Narrowed:
    """The services that workloads of `namespace` may call by the egress listeners of a document."""
    listeners = document.spec.egress
    numbered = frozenset(each.port.number for each in listeners if each.port is not None)
    found: dict[str, Ports] = {}
    for frontend in _candidates(catalog, listeners, namespace):
        ports = _ports(frontend, listeners, numbered, catalog, namespace)
        if ports:
            found[frontend.host] = () if len(ports) == len(frontend.ports) else ports
    return tuple(sorted(found.items()))


def _candidates(catalog: Catalog, listeners: tuple[EgressListener, ...], namespace: str) -> Iterable[Frontend]:
    """Every service that a pattern may name: a few namespaces', in a large mesh."""
    found: dict[str, Frontend] = {}
    for pattern in dict.fromkeys(host for listener in listeners for host in listener.hosts):
        space, _, host = pattern.partition("/")
        if space != "*":
            frontends = catalog.by_namespace.get(namespace if space == "." else space, ())
        elif host in catalog.by_host:
            frontends = (catalog.by_host[catalog.meant(host, namespace)],)
        else:
            frontends = catalog.frontends
        found.update((each.host, each) for each in frontends if catalog.tells(each, namespace))
    return found.values()


def _ports(
    frontend: Frontend,
    listeners: tuple[EgressListener, ...],
    numbered: frozenset[int],
    catalog: Catalog,
    namespace: str,
) -> Ports:
    """The ports of a service that a listener leads to: the one for that port, else the one without a port."""
    found: list[int] = []
    for port in frontend.ports:
        wanted = port.number if port.number in numbered else 0
        listener = next((each for each in listeners if (each.port.number if each.port else 0) == wanted), None)
        if listener and any(_names(host, frontend, catalog, namespace) for host in listener.hosts):
            found.append(port.number)
    return tuple(found)


def _names(pattern: str, frontend: Frontend, catalog: Catalog, namespace: str) -> bool:
    space, _, host = pattern.partition("/")
    if space == "~" or (space != "*" and frontend.namespace != (namespace if space == "." else space)):
        return False
    return covers(host, frontend.called) or catalog.meant(host, frontend.namespace) == frontend.host


def outside_named(document: SidecarDocument, host: str, namespace: str) -> bool:
    """Whether a host that no service has, and that documents of `namespace` route, may be called."""
    for listener in document.spec.egress:
        for pattern in listener.hosts:
            space, _, wanted = pattern.partition("/")
            if space in ("*", namespace, ".") and covers(wanted, host):
                return True
    return False


# -- what is served ----------------------------------------------------------------------------------------------------


def with_sidecar(inbound: tuple[InboundPort, ...], memo: Memo, policy: SidecarPolicy) -> tuple[InboundPort, ...]:
    """The ports of a workload as a Sidecar has them served: those of its ingress listeners, if it has any. What a port
    is without what is asked there is served alike, and stays the same object while only that changes."""
    listeners = _listeners(policy)
    served = [port for port in inbound if not listeners or port.port in listeners]
    return tuple(
        replace(memo(_served, port, policy), unasked=memo(_served, port.unasked, policy) if port.unasked else None)
        for port in served
    )


def _listeners(policy: SidecarPolicy) -> Mapping[int, IngressListener]:
    return {each.port.number: each for each in policy.ingress.spec.ingress} if policy.ingress else {}


def _served(port: InboundPort, policy: SidecarPolicy) -> InboundPort:
    listener = _listeners(policy).get(port.port)
    pool = policy.pool.spec.inbound_connection_pool if policy.pool else None
    if listener is not None and listener.connection_pool is not None:
        pool = listener.connection_pool
    document = policy.ingress if listener is not None else policy.pool
    origins = tuple(dict.fromkeys((*port.origins, *((document.origin,) if document else ()))))
    changed = replace(port, origins=origins, limits=connection_limits(pool, None))
    if listener is None:
        return changed
    _, _, digits = listener.default_endpoint.rpartition(":")
    application = SocketAddress(port.application.host, int(digits)) if digits else port.application
    protocol = protocol_of_word(listener.port.protocol.lower())
    return replace(changed, protocol=protocol, application=application, turning=None)


# -- what is wrong -----------------------------------------------------------------------------------------------------


def sidecar_problems(sidecars: Sidecars, catalog: Catalog) -> tuple[Problem, ...]:
    """Sidecars that others shut out, and hosts of egress listeners that name nothing."""
    unnamed = [problem for policy in sidecars.policies for problem in _unnamed(policy.document, catalog)]
    return (*sidecars.problems, *unnamed)


def _unnamed(document: SidecarDocument, catalog: Catalog) -> Iterator[Problem]:
    namespace = document.key.namespace
    for index, listener in enumerate(document.spec.egress):
        for place, pattern in enumerate(listener.hosts):
            _, _, host = pattern.partition("/")
            if host.startswith("*") or any(_names(pattern, each, catalog, namespace) for each in catalog.frontends):
                continue
            path: FieldPath = ("spec", "egress", index, "hosts", place)
            message = f"no service is called '{pattern}', so it lets nothing be called"
            expected = "NAMESPACE/HOST of a Service or ServiceEntry"
            yield problem_at(document, path, "egress-host-unknown", message, expected, severity=Severity.WARNING)


def unserved_ingress(sidecars: Sidecars, workloads: tuple[Workload, ...]) -> tuple[Problem, ...]:
    """Ingress listeners for ports that none of the workloads has, for which they are."""
    found: list[Problem] = []
    for policy in sidecars.policies:
        document = policy.document
        if not document.spec.ingress:
            continue
        chosen = [each for each in workloads if not each.gateway and document in sidecars.of(each)]
        ports = sorted({port.port for each in chosen for port in each.ports})
        for index, listener in enumerate(document.spec.ingress):
            if listener.port.number not in ports:
                path: FieldPath = ("spec", "ingress", index, "port", "number")
                message = f"no workload that it selects has port {listener.port.number}, so nothing is served there"
                expected = one_of(map(str, ports), f"a workload run with --port {listener.port.number}")
                found.append(
                    problem_at(document, path, "ingress-not-served", message, expected, severity=Severity.WARNING)
                )
    return tuple(found)
