"""The build: a ConfigSnapshot becomes a Mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from weft.mesh.checks import route_problems, workload_problems
from weft.mesh.gateways.gateway import build_gateways
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.destinationrule import build_destination_rules
from weft.mesh.policies.meshconfig import build_settings, settings_documents
from weft.mesh.policies.peerauthentication import PeerDocument, PeerPolicies, build_peer_policies, peer_documents
from weft.mesh.policies.referencegrant import build_grants
from weft.mesh.routes.claims import RouteDocument, build_mesh_routes
from weft.mesh.routes.istio_differences import istio_differences
from weft.mesh.services.catalog import build_catalog, build_frontend
from weft.mesh.services.endpoints import build_services
from weft.mesh.services.service import Service
from weft.model.document import Document
from weft.model.origin import path_text
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot
from weft.model.unreadable import Unreadable
from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.gateway import GatewayClassSpec, GatewaySpec, ReferenceGrantSpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

SpecT = TypeVar("SpecT")


def build_mesh(snapshot: ConfigSnapshot, memo: Memo, overlap: PeerPolicies | None = None) -> Mesh:
    """The meaning of a snapshot. Call `memo.begin()` before; nodes whose inputs are unchanged stay the same objects.

    The order of documents and workloads does not matter. Ports whose mutual-TLS mode is another by `overlap` accept
    mutual TLS and plaintext.
    """
    kinds = _by_kind(snapshot.documents)
    wide_documents = settings_documents((*kinds.get(MeshConfigSpec, ()), *kinds.get(ConfigMapSpec, ())))
    wide = memo.over(build_settings, wide_documents, snapshot.settings)
    settings = wide.settings
    service_documents = _of(kinds, ServiceSpec)
    frontends = tuple([memo(build_frontend, document) for document in service_documents])
    catalog = memo(build_catalog, service_documents, frontends)
    routes: tuple[RouteDocument, ...] = (*_of(kinds, VirtualServiceSpec), *_of(kinds, HttpRouteSpec))
    grants = memo.over(build_grants, _of(kinds, ReferenceGrantSpec))
    rules = memo.over(build_destination_rules, _of(kinds, DestinationRuleSpec), catalog, settings.root_namespace)
    peers = memo.over(build_peer_policies, _peers(kinds), memo, settings.root_namespace)
    mesh_routes = memo.over(build_mesh_routes, routes, catalog)
    gateways = memo(
        build_gateways,
        memo,
        _of(kinds, GatewaySpec),
        _of(kinds, GatewayClassSpec),
        _of(kinds, NamespaceSpec),
        _of(kinds, SecretSpec),
        routes,
        catalog,
        grants,
    )
    services, service_problems = build_services(
        memo, service_documents, frontends, snapshot.workloads, peers, settings.trust_domain
    )
    problems: list[Problem] = [
        *wide.problems,
        *catalog.problems,
        *rules.problems,
        *peers.problems,
        *mesh_routes.problems,
        *memo.over(istio_differences, _of(kinds, VirtualServiceSpec), catalog),
        *gateways.problems,
        *memo(route_problems, memo, catalog, rules, mesh_routes, gateways, grants),
        *service_problems,
        *workload_problems(snapshot.workloads, catalog, gateways),
    ]
    return Mesh(
        revision=snapshot.revision,
        settings=settings,
        defaults=wide.defaults,
        services=services,
        index=memo.over(_index, services),
        workloads=snapshot.workloads,
        catalog=catalog,
        destination_rules=rules,
        routes=mesh_routes,
        gateways=gateways,
        grants=grants,
        peers=peers,
        problems=tuple(sorted(dict.fromkeys(problems), key=_problem_order)),
        overlap=overlap,
    )


def _by_kind(documents: Iterable[Document[object]]) -> dict[type[object], list[Document[object]]]:
    kinds: dict[type[object], list[Document[object]]] = {}
    for document in documents:
        kinds.setdefault(type(document.spec), []).append(document)
    for found in kinds.values():
        found.sort(key=_document_order)
    return kinds


def _document_order(document: Document[object]) -> tuple[str, str]:
    return (document.key.namespace, document.key.name)


def _of(kinds: Mapping[type[object], list[Document[object]]], spec: type[SpecT]) -> tuple[Document[SpecT], ...]:
    return tuple(kinds.get(spec, ()))  # type: ignore[arg-type]


def _peers(kinds: Mapping[type[object], list[Document[object]]]) -> tuple[PeerDocument, ...]:
    return peer_documents((*kinds.get(PeerAuthenticationSpec, ()), *kinds.get(Unreadable, ())))


def _index(services: tuple[Service, ...]) -> Mapping[str, Service]:
    return MappingProxyType({service.host: service for service in services})


def _problem_order(problem: Problem) -> tuple[str, int, str, str]:
    return (problem.origin.source, problem.origin.line, path_text(problem.path), problem.message)
