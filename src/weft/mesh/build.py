"""The build: a ConfigSnapshot becomes a Mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

from weft.mesh.gateways.gateway import Declared, Gateways, build_declared, build_gateways
from weft.mesh.idle import idle_problems, selectorless_problems
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.destinationrule import DestinationRules, build_destination_rules
from weft.mesh.policies.meshconfig import build_settings, settings_documents
from weft.mesh.policies.peerauthentication import PeerDocument, PeerPolicies, build_peer_policies, peer_documents
from weft.mesh.policies.referencegrant import Grants, build_grants
from weft.mesh.routes.acceptance import RouteStatus, build_acceptance
from weft.mesh.routes.istio_differences import istio_differences
from weft.mesh.routes.kinds import ROUTE_KINDS
from weft.mesh.routes.table import RouteTable, build_route_table, subset_problems
from weft.mesh.services.backends import build_targets
from weft.mesh.services.catalog import Catalog, build_catalog
from weft.mesh.services.endpoints import build_services
from weft.mesh.services.reached import unreached_workloads
from weft.mesh.services.workloads import GatewayPorts, unselected_problems, workload_problems
from weft.mesh.sidecars.outbound import build_common
from weft.model.document import Document
from weft.model.origin import path_text
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload
from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.gateway import GatewayClassSpec, GatewaySpec, ReferenceGrantSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

SpecT = TypeVar("SpecT")
Kinds = Mapping[type[object], tuple[Document[object], ...]]


def build_mesh(snapshot: ConfigSnapshot, memo: Memo, overlap: PeerPolicies | None = None) -> Mesh:
    """The meaning of a snapshot. Call `memo.begin()` before; nodes whose inputs are unchanged stay the same objects.

    The order of documents and workloads does not matter. Ports whose mutual-TLS mode is another by `overlap` accept
    mutual TLS and plaintext.
    """
    kinds = memo.groups(_kind, _document_order, snapshot.documents)
    wide_documents = settings_documents((*kinds.get(MeshConfigSpec, ()), *kinds.get(ConfigMapSpec, ())))
    wide = memo.over(build_settings, wide_documents, snapshot.settings)
    settings, defaults = wide.settings, wide.defaults
    catalog = memo.over(build_catalog, _of(kinds, ServiceSpec), memo)
    grants = memo.over(build_grants, _of(kinds, ReferenceGrantSpec))
    rules = memo.over(build_destination_rules, _of(kinds, DestinationRuleSpec), catalog, settings.root_namespace)
    policies = _peers(kinds)
    peers = memo.over(build_peer_policies, policies, memo, settings.root_namespace)
    documents = [document for spec in ROUTE_KINDS for document in kinds.get(spec, ())]
    routes = memo.over(build_route_table, documents, memo, catalog, grants, defaults)
    declared = _declared(memo, kinds, grants, snapshot.problems)
    gateways = memo(build_gateways, memo, declared, routes, catalog, rules)
    services = build_services(memo, catalog, snapshot.workloads, peers, settings.trust_domain)
    unselected = unselected_problems(memo, snapshot.workloads, catalog)
    problems = (
        wide.problems,
        catalog.problems,
        rules.problems,
        peers.problems,
        routes.problems,
        _flat(memo(subset_problems, memo, routes, catalog, rules)),
        _flat(memo.rows(istio_differences, (_of(kinds, VirtualServiceSpec),), catalog)),
        gateways.problems,
        services.problems,
        memo(selectorless_problems, catalog, routes),
        _workload_problems(memo, snapshot.workloads, catalog, routes, gateways),
        unreached_workloads(memo, snapshot.workloads),
    )
    return Mesh(
        revision=snapshot.revision,
        settings=settings,
        defaults=defaults,
        catalog=catalog,
        services=services,
        workloads=snapshot.workloads,
        destination_rules=rules,
        routes=routes,
        targets=memo(build_targets, memo, services, catalog, rules, routes.subsets, defaults),
        entries=memo(build_common, memo, routes, catalog, defaults),
        gateways=gateways,
        peers=peers,
        acceptance=memo(_acceptance, memo, routes, gateways, catalog, rules),
        problems=tuple(sorted({problem: None for found in problems for problem in found}, key=_problem_order)),
        idle=idle_problems(memo, snapshot.workloads, declared, policies, routes, (*services.idle, *unselected)),
        overlap=overlap,
    )


def _flat(rows: Iterable[Sequence[Problem]]) -> list[Problem]:
    return [problem for found in rows if found for problem in found]


def _workload_problems(
    memo: Memo, workloads: tuple[Workload, ...], catalog: Catalog, routes: RouteTable, gateways: Gateways
) -> tuple[Problem, ...]:
    return workload_problems(memo, workloads, catalog, memo(_outside_hosts, routes), memo(_listener_ports, gateways))


def _declared(memo: Memo, kinds: Kinds, grants: Grants, problems: tuple[Problem, ...]) -> Declared:
    return memo.over(
        build_declared,
        _of(kinds, GatewaySpec),
        memo,
        _of(kinds, GatewayClassSpec),
        _of(kinds, NamespaceSpec),
        _of(kinds, SecretSpec),
        grants,
        _refused_gateways(problems),
    )


def _acceptance(
    memo: Memo, routes: RouteTable, gateways: Gateways, catalog: Catalog, rules: DestinationRules
) -> tuple[RouteStatus, ...]:
    subsets = memo(subset_problems, memo, routes, catalog, rules)
    return build_acceptance(memo, routes.routes, routes.lost, subsets, gateways.parents)


def _outside_hosts(routes: RouteTable) -> Mapping[str, tuple[str, ...]]:
    return {namespace: space.outside_hosts for namespace, space in routes.namespaces.items()}


def _listener_ports(gateways: Gateways) -> tuple[GatewayPorts, ...]:
    return tuple(
        (name, tuple(sorted({listener.port for listener in model.listeners})))
        for name, model in sorted(gateways.by_name.items())
    )


def _refused_gateways(problems: tuple[Problem, ...]) -> tuple[tuple[str, str], ...]:
    """The Gateways that the decoder refused, ``namespace/name``, and where the first error of each stands."""
    found: dict[str, str] = {}
    for problem in problems:
        key = problem.object
        if key is not None and key.kind == "Gateway" and problem.severity is Severity.ERROR:
            found.setdefault(f"{key.namespace}/{key.name}", str(problem.origin))
    return tuple(sorted(found.items()))


def _kind(document: Document[object]) -> tuple[type[object], ...]:
    return (type(document.spec),)


def _document_order(document: Document[object]) -> tuple[str, str]:
    return (document.key.namespace, document.key.name)


def _of(kinds: Kinds, spec: type[SpecT]) -> tuple[Document[SpecT], ...]:
    return cast(tuple[Document[SpecT], ...], kinds.get(spec, ()))


def _peers(kinds: Kinds) -> tuple[PeerDocument, ...]:
    return peer_documents((*kinds.get(PeerAuthenticationSpec, ()), *kinds.get(Unreadable, ())))


def _problem_order(problem: Problem) -> tuple[str, int, str, str]:
    return (problem.origin.source, problem.origin.line, path_text(problem.path), problem.message)
