"""Policies for Services: HealthCheckPolicy, FallbackPolicy, EjectionPolicy and OverloadPolicy, and whom each is for.

Each target is a Service, one of its ports, or a subset. For what is called, the one of a subset goes before that of a
port, and that before the one of the whole Service; nothing of the wider one is added. Of two for one target the oldest
is in force. All of them are the Service owner's: they stand in its namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules, subset_names
from weft.mesh.policies.ejectionpolicy import compile_comparison
from weft.mesh.policies.fallbackpolicy import fallback_problems, fallbacks_of
from weft.mesh.policies.healthcheckpolicy import compile_health
from weft.mesh.policies.overloadpolicy import compile_overload
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.policies.scope import Policy, Scope, settle
from weft.mesh.problems import one_of, problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.references import unknown_port
from weft.mesh.services.resilience import NO_RESILIENCE, Key, Overload, Resilience
from weft.mesh.services.service import Frontend, FrontendPort, Protocol
from weft.model.document import Document
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.schema.kinds.ejectionpolicy import EjectionPolicySpec
from weft.schema.kinds.fallbackpolicy import FallbackPolicySpec
from weft.schema.kinds.healthcheckpolicy import HealthCheckPolicySpec
from weft.schema.kinds.overloadpolicy import OverloadPolicySpec
from weft.schema.kinds.servicepolicy import ServiceTarget
from weft.schema.wording import nearest_name

KINDS: tuple[type, ...] = (HealthCheckPolicySpec, FallbackPolicySpec, EjectionPolicySpec, OverloadPolicySpec)
PolicyDocument = Document[Any]
Fallbacks = tuple[tuple[int, tuple[Key, ...]], ...]
"""The fallbacks of each port, by its number."""


@dataclass(frozen=True, slots=True)
class Given:
    """A policy in force and the `section` of the Service that it is for (empty: all of it)."""

    document: PolicyDocument
    section: str = ""
    fallbacks: Fallbacks = ()


@dataclass(frozen=True, slots=True, eq=False)
class Attached:
    """The policies of one Service. Compared by identity."""

    every: tuple[Given, ...]

    def find(self, spec: type, port: FrontendPort, subset: str = "") -> Given | None:
        """The one of a kind that is in force for a port, or for a subset at that port."""
        sections = [subset, port.name, str(port.number), ""] if subset else [port.name, str(port.number), ""]
        mine = {each.section: each for each in self.every if isinstance(each.document.spec, spec)}
        return next((mine[section] for section in sections if section in mine), None) if mine else None


@dataclass(frozen=True, slots=True, eq=False)
class ServicePolicies:
    """By the full name of a Service; `overloads` whether any limits what applications get. Compared by identity."""

    by_host: Mapping[str, Attached] = field(default_factory=dict)
    overloads: bool = False
    problems: tuple[Problem, ...] = ()


NO_SERVICE_POLICIES = ServicePolicies()


def build_service_policies(
    documents: tuple[PolicyDocument, ...], memo: Memo, catalog: Catalog, rules: DestinationRules, grants: Grants
) -> ServicePolicies:
    """The policies in force, by the Service that each is for."""
    found: dict[str, list[tuple[PolicyDocument, str, Fallbacks]]] = {}
    problems: list[Problem] = []
    for spec in KINDS:
        own = [document for document in documents if isinstance(document.spec, spec)]
        given = [policy for document in own for policy in _policies(document)]
        settled, conflicts = settle(given, ("spec", "targetRefs"), "policy-conflict", "one of a kind for each target")
        problems += conflicts
        for policy in settled:
            name, _, section = policy.scope.target.removeprefix("Service ").partition("#")
            frontend = catalog.named(name.partition("/")[2], policy.scope.namespace)
            if frontend is not None:
                found.setdefault(frontend.host, []).append(_given(policy.document, section, frontend, catalog, grants))
        for document in own:
            problems += _problems(document, catalog, rules, grants)
    by_host = {host: memo(_attached, tuple(every)) for host, every in found.items()}
    overloads = any(isinstance(document.spec, OverloadPolicySpec) for document in documents)
    return ServicePolicies(MappingProxyType(by_host), overloads, tuple(dict.fromkeys(problems)))


def _attached(every: tuple[tuple[PolicyDocument, str, Fallbacks], ...]) -> Attached:
    return Attached(tuple([Given(*each) for each in every]))


def _policies(document: PolicyDocument) -> Iterator[Policy[Any]]:
    namespace = document.key.namespace
    for target in document.spec.target_refs:
        section = f"#{target.section_name}" if target.section_name else ""
        yield Policy(Scope(namespace, target=f"Service {namespace}/{target.name}{section}"), document)


def _given(
    document: PolicyDocument, section: str, frontend: Frontend, catalog: Catalog, grants: Grants
) -> tuple[PolicyDocument, str, Fallbacks]:
    if not isinstance(document.spec, FallbackPolicySpec):
        return document, section, ()
    by_port = [(port.number, fallbacks_of(document, frontend, port.number, catalog, grants)) for port in frontend.ports]
    return document, section, tuple(by_port)


def resilience_of(attached: Attached, frontend: Frontend, port: FrontendPort, subset: str) -> Resilience:
    """What the policies of a Service say of one backend of it."""
    health = attached.find(HealthCheckPolicySpec, port, subset)
    compared = attached.find(EjectionPolicySpec, port, subset)
    fallback = attached.find(FallbackPolicySpec, port, subset)
    used = [each.document for each in (health, compared, fallback) if each is not None]
    if not used:
        return NO_RESILIENCE
    return Resilience(
        health=compile_health(health.document, frontend) if health else None,
        comparison=compile_comparison(compared.document) if compared else None,
        fallbacks=dict(fallback.fallbacks)[port.number] if fallback else (),
        below=(fallback.document.spec.below_healthy_percent or 0) if fallback else 0,
        origins=tuple([document.origin for document in used]),
    )


def overloads_of(
    policies: ServicePolicies, frontends: tuple[Frontend, ...], workload: Workload
) -> tuple[Overload | None, ...]:
    """What limits each port of a workload: the policy of the first Service, by name, that leads there and has one."""
    return tuple([_overload(policies, frontends, workload, place) for place in range(len(workload.ports))])


def _overload(
    policies: ServicePolicies, frontends: tuple[Frontend, ...], workload: Workload, place: int
) -> Overload | None:
    for frontend in sorted(frontends, key=lambda each: each.host):
        attached = policies.by_host.get(frontend.host)
        for port in frontend.ports if attached else ():
            if attached and port_behind(frontend, port.target, workload) is workload.ports[place]:
                found = attached.find(OverloadPolicySpec, port)
                if found is not None and port.protocol is not Protocol.TCP:
                    return compile_overload(found.document)
    return None


def _problems(document: PolicyDocument, catalog: Catalog, rules: DestinationRules, grants: Grants) -> Iterator[Problem]:
    namespace = document.key.namespace
    for index, target in enumerate(document.spec.target_refs):
        path = ("spec", "targetRefs", index)
        frontend = catalog.named(target.name, namespace)
        if frontend is None:
            near = nearest_name(target.name, catalog.names_in(namespace))
            message = f"there is no Service '{target.name}' in namespace '{namespace}'"
            expected = "the name of a Service"
            yield problem_at(document, (*path, "name"), "unknown-target", message, expected, nearest=near)
            continue
        ports = _ports(target, frontend)
        subsets = subset_names(rules.find("", frontend)) if not isinstance(document.spec, OverloadPolicySpec) else ()
        if not ports and target.section_name not in subsets:
            known = [port.name or str(port.number) for port in frontend.ports] + list(subsets)
            near = nearest_name(str(target.section_name), known)
            message = f"{frontend.key} has no port or subset '{target.section_name}'"
            where = (*path, "sectionName")
            yield problem_at(document, where, "unknown-section", message, one_of(known, "a port"), nearest=near)
            continue
        yield from _unfit(document, frontend, ports or frontend.ports, catalog, grants)


def _ports(target: ServiceTarget, frontend: Frontend) -> tuple[FrontendPort, ...]:
    """The ports that a target means; none, if its section is not one."""
    section = target.section_name
    return tuple([port for port in frontend.ports if section in (None, port.name, str(port.number))])


def _unfit(
    document: PolicyDocument, frontend: Frontend, ports: Iterable[FrontendPort], catalog: Catalog, grants: Grants
) -> Iterator[Problem]:
    """What a policy cannot do for these ports."""
    spec = document.spec
    if isinstance(spec, FallbackPolicySpec):
        numbers = tuple(port.number for port in ports)
        yield from fallback_problems(document, frontend, numbers, catalog, grants)
    elif isinstance(spec, HealthCheckPolicySpec) and spec.port is not None and frontend.port(spec.port) is None:
        yield unknown_port(document, ("spec", "port"), frontend, spec.port, ", so each is checked at its own")
    for port in ports:
        if (needed := _needed(spec, port.protocol)) is not None:
            message = f"port {port.number} of {frontend.key} carries {port.protocol}, so it is left alone"
            yield problem_at(document, ("spec",), "other-protocol", message, needed, severity=Severity.WARNING)


def _needed(spec: object, protocol: Protocol) -> str | None:
    """What a port would have to be for a policy; None if it is."""
    if isinstance(spec, HealthCheckPolicySpec) and spec.grpc is not None:
        return None if protocol is Protocol.HTTP2 else "a port of gRPC, or a check by http or tcp"
    http = isinstance(spec, OverloadPolicySpec) or (isinstance(spec, HealthCheckPolicySpec) and spec.http is not None)
    return "a port that carries HTTP" if http and protocol is Protocol.TCP else None
