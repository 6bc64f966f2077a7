"""Idle: documents without effect because no workload is there for them, which is the rule while a mesh is starting, and
workloads that wait for their Service.

These are values like all Problems, but in a list of their own: who shows them waits until they have been true for a
while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from weft.mesh.gateways.declared import Declared
from weft.mesh.memo import Memo
from weft.mesh.policies.peerauthentication import PeerDocument
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.compiled import CompiledRoute
from weft.mesh.routes.table import RouteTable
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Resolution
from weft.mesh.services.workloads import declaring_workloads, gateway_of
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.schema.kinds.authorizationpolicy import AuthorizationPolicySpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.proxyconfig import ProxyConfigSpec
from weft.schema.kinds.requestauthentication import RequestAuthenticationSpec
from weft.schema.kinds.telemetry import TelemetrySpec

_OtherSpec = TelemetrySpec | AuthorizationPolicySpec | RequestAuthenticationSpec | ProxyConfigSpec
SelectingSpec = PeerAuthenticationSpec | _OtherSpec
_Others = (
    Document[TelemetrySpec]
    | Document[AuthorizationPolicySpec]
    | Document[RequestAuthenticationSpec]
    | Document[ProxyConfigSpec]
)
PolicyDocument = Document[PeerAuthenticationSpec] | _Others
Policies = tuple[PeerDocument | _Others, ...]
Workloads = tuple[Workload, ...]
NOT_SERVED = "not-served"
"""The code of Problems about Gateways that no process serves."""
NO_SELECTOR = "no-selector"
"""That of Services behind which no workload ever is."""


def idle_problems(
    memo: Memo,
    workloads: Workloads,
    declared: Declared,
    policies: Policies,
    routes: RouteTable,
    others: tuple[Problem, ...],
) -> tuple[Problem, ...]:
    """Everything that waits for workloads. `others` tell of Services that select none, and of workloads that none
    selects."""
    asked = memo.over(_asked, policies, routes)
    found = memo.groups(_labels_in_use, _name, workloads, asked.names) if asked.names else {}
    selected = memo.rows(_idle_policy, (asked.policies, [_having(found, each) for each in asked.selectors]))
    callers = [_having(found, labels) for labels in asked.sources]
    unasked = memo.rows(_idle_rules, (asked.routes, asked.sources, callers))
    rest = [problem for problems in (*selected, *unasked) for problem in problems]
    unserved = memo.over(_unserved, declaring_workloads(memo, workloads), declared)
    return memo.same((*others, *unserved, *rest))


def selectorless_problems(catalog: Catalog, routes: RouteTable) -> tuple[Problem, ...]:
    """Services without a selector, behind which there never is a workload, and that no document of their namespace
    routes elsewhere. This waits for nothing."""
    return tuple(
        problem_at(
            document,
            ("spec", "selector"),
            NO_SELECTOR,
            "the service has no selector, so no workload is ever behind it",
            "the labels of its workloads",
            severity=Severity.WARNING,
        )
        for document, frontend in zip(catalog.documents, catalog.frontends, strict=True)
        if not frontend.selector and frontend.resolution is Resolution.WORKLOADS
        if frontend.host not in routes.of(frontend.namespace).hosts
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What documents ask of workloads: policies with their selectors, routes with the labels that their rules ask of
    callers, and the `names` of the labels by which workloads are looked up. Compared by identity."""

    policies: tuple[PolicyDocument, ...]
    selectors: tuple[Labels, ...]
    routes: tuple[CompiledRoute, ...]
    sources: tuple[Labels, ...]
    names: tuple[str, ...]


def _asked(given: Policies, routes: RouteTable) -> _Asked:
    policies = [(cast(PolicyDocument, each), labels) for each in given if (labels := _selector_of(each))]
    asking = [(route, labels) for route in routes.routes for labels in route.selectors]
    selectors, sources = tuple(labels for _, labels in policies), tuple(labels for _, labels in asking)
    return _Asked(
        policies=tuple(document for document, _ in policies),
        selectors=selectors,
        routes=tuple(route for route, _ in asking),
        sources=sources,
        names=tuple(sorted({labels[0][0] for labels in (*selectors, *sources)})),
    )


def _selector_of(document: PeerDocument | PolicyDocument) -> Labels:
    spec = document.spec
    if not isinstance(spec, SelectingSpec) or spec.selector is None:
        return ()
    return labels_from_mapping(spec.selector.match_labels)


def _labels_in_use(workload: Workload, names: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    return [pair for pair in workload.labels if pair[0] in names]


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _having(found: Mapping[tuple[str, str], Workloads], labels: Labels) -> Workloads:
    """The workloads with the first of these labels."""
    return found.get(labels[0], ())


def _idle_policy(_memo: Memo, document: PolicyDocument, candidates: Workloads) -> tuple[Problem, ...]:
    """A policy that selects no workload, and the ports it names that none of those it selects has."""
    labels, namespace, spec = _selector_of(document), document.key.namespace, document.spec
    chosen = [each for each in candidates if each.namespace == namespace and selects(labels, each.labels)]
    if not chosen:
        path: FieldPath = ("spec", "selector")
        return (_warning(document, path, "selects-nothing", f"it selects no workload in namespace '{namespace}'"),)
    if not isinstance(spec, PeerAuthenticationSpec):
        return ()
    ports = sorted({port.port for each in chosen for port in each.ports})
    expected = one_of(map(str, ports), "a port of these workloads")
    return tuple(
        _warning(
            document,
            ("spec", "portLevelMtls", str(number)),
            "port-not-served",
            f"no workload that it selects has port {number} (these are workloads' ports, not those of Services)",
            expected,
        )
        for number in sorted(spec.port_level_mtls)
        if number not in ports
    )


def _idle_rules(_memo: Memo, route: CompiledRoute, labels: Labels, candidates: Workloads) -> tuple[Problem, ...]:
    """The matches of a route that ask for labels which no caller has (at a Gateway its own processes call)."""
    callers = [each for each in candidates if (route.parents if each.gateway else route.ports)]
    if any(selects(labels, each.labels) for each in callers):
        return ()
    text = ",".join(f"{name}={value}" for name, value in labels)
    expected = "" if route.ports else "labels of the Gateway's own process, which is the caller there"
    return tuple(
        _warning(route.document, attempt.path, "selects-nothing", f"no caller has the sourceLabels {text}", expected)
        for attempt in route.kind.attempts(route.document)
        if attempt.source.labels == labels
    )


def _unserved(declaring: Workloads, declared: Declared) -> tuple[Problem, ...]:
    served = {gateway_of(each) for each in declaring}
    named = [_not_served(each.document) for name, each in declared.gateways.items() if name not in served]
    labels = [each.labels for each in declaring if each.gateway is not None]
    return (
        *named,
        *(
            _not_selected(each.document, each.selector or ())
            for each in declared.selecting.values()
            if not any(selects(each.selector or (), found) for found in labels)
        ),
    )


def _not_selected(document: Document[object], selector: Labels) -> Problem:
    wanted = ",".join(f"{name}={value}" for name, value in selector)
    message = f"no gateway process has the labels {wanted}, so nothing listens"
    expected = f"a process started with: weft gateway {document.key.name} --labels {wanted}"
    return _warning(document, ("spec", "selector"), NOT_SERVED, message, expected)


def _not_served(document: Document[object]) -> Problem:
    key = document.key
    where = "" if key.namespace == "default" else f" -n {key.namespace}"
    message = "no process serves this Gateway, so nothing listens"
    return _warning(document, (), NOT_SERVED, message, f"a process started with: weft gateway {key.name}{where}")


def _warning(document: Document[object], path: FieldPath, code: str, message: str, expected: str = "") -> Problem:
    return problem_at(document, path, code, message, expected, severity=Severity.WARNING)
