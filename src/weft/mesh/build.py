"""The build: a ConfigSnapshot becomes a Mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, cast

from weft.mesh.access.attachment import AccessPolicies
from weft.mesh.access.build import ACCESS_KINDS, build_access_policies
from weft.mesh.access.claims import claim_problems
from weft.mesh.access.unknown import unknown_callers
from weft.mesh.gateways.certificates import by_key, secret_documents
from weft.mesh.gateways.clients import config_maps_by_key
from weft.mesh.gateways.declared import Declared, join_declared
from weft.mesh.gateways.gateway import Gateways, build_gateways
from weft.mesh.gateways.gateway_api import make_gateways
from weft.mesh.gateways.istio_gateway import make_istio_gateways
from weft.mesh.gateways.serving import servers_of
from weft.mesh.idle import Policies, idle_problems, selectorless_problems
from weft.mesh.left_out import left_out_problems
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.policies.authorizers import build_authorizers, crowded
from weft.mesh.policies.backendtlspolicy import build_backend_tls_policies
from weft.mesh.policies.destinationrule import DestinationRules, build_destination_rules
from weft.mesh.policies.distrust import build_refused
from weft.mesh.policies.envoyfilter import NO_FILTERS, EnvoyFilters, build_envoy_filters, with_unpatched
from weft.mesh.policies.federatedtrustdomain import NO_FEDERATION, Federation, build_federation
from weft.mesh.policies.guards import KINDS as GUARD_KINDS
from weft.mesh.policies.guards import NO_GUARDS, Guards, build_guards, guard_documents
from weft.mesh.policies.guards import ROUTES as GUARDED
from weft.mesh.policies.guards import Targets as GuardTargets
from weft.mesh.policies.logins import build_providers as build_openid_providers
from weft.mesh.policies.meshconfig import MeshWide, TrafficDefaults, build_settings, settings_documents, with_sessions
from weft.mesh.policies.peerauthentication import PeerDocument, PeerPolicies, build_peer_policies, peer_documents
from weft.mesh.policies.providers import build_providers
from weft.mesh.policies.proxyconfig import ProxyConfigs, build_proxy_configs, overlapping, started_otherwise
from weft.mesh.policies.ratelimitpolicy import NO_LIMITS, LimitTargets, RateLimits, build_rate_limits
from weft.mesh.policies.referencegrant import Grants, build_grants
from weft.mesh.policies.servicepolicies import KINDS as SERVICE_KINDS
from weft.mesh.policies.servicepolicies import NO_SERVICE_POLICIES, ServicePolicies, build_service_policies
from weft.mesh.policies.sidecar import NO_SIDECARS, Sidecars, build_sidecars, sidecar_problems, unserved_ingress
from weft.mesh.policies.telemetry import Telemetries, build_telemetries
from weft.mesh.policies.vault import build_vault
from weft.mesh.policies.xbackendtrafficpolicy import build_traffic_policies
from weft.mesh.policies.xtelemetrypolicy import NO_POLICIES, build_gateway_tracings
from weft.mesh.routes.acceptance import RouteStatus, build_acceptance
from weft.mesh.routes.access_logs import route_word
from weft.mesh.routes.istio_differences import istio_differences
from weft.mesh.routes.kinds import ROUTE_KINDS
from weft.mesh.routes.table import RouteTable, build_route_table, subset_problems
from weft.mesh.routes.trace_sampling import trace_share
from weft.mesh.routes.trafficsplit import join_splits
from weft.mesh.routes.virtualservice_delegates import join_delegates
from weft.mesh.services.addresses import build_addresses
from weft.mesh.services.attached import NO_ATTACHMENTS, Attachments, build_attachments
from weft.mesh.services.backends import build_targets
from weft.mesh.services.catalog import Catalog, build_catalog
from weft.mesh.services.credentials import NO_CREDENTIALS, Credentials, build_credentials, going_outside
from weft.mesh.services.endpoints import Services, build_services
from weft.mesh.services.instances import build_instance_member
from weft.mesh.services.reached import unreached_workloads
from weft.mesh.services.workloadentry import build_entry_member, entry_problems
from weft.mesh.services.workloads import GatewayPorts, unselected_problems, workload_problems
from weft.mesh.sidecars.outbound import build_common
from weft.mesh.steps import NO_STEP, Step
from weft.model.document import Document
from weft.model.jwks import KeySet
from weft.model.labels import Labels
from weft.model.openid import OpenIdEndpoints
from weft.model.origin import path_text
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload
from weft.schema.kinds.authorizationpolicy import AuthorizationPolicySpec
from weft.schema.kinds.backendtlspolicy import BackendTlsPolicySpec
from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceAccountSpec, ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec
from weft.schema.kinds.federatedtrustdomain import FederatedTrustDomainSpec
from weft.schema.kinds.gateway import GatewayClassSpec, GatewaySpec, ListenerSetSpec, ReferenceGrantSpec
from weft.schema.kinds.istiogateway import IstioGatewaySpec
from weft.schema.kinds.meshconfig import ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.proxyconfig import ProxyConfigSpec
from weft.schema.kinds.ratelimitpolicy import RateLimitPolicySpec
from weft.schema.kinds.requestauthentication import RequestAuthenticationSpec
from weft.schema.kinds.serviceentry import ServiceEntrySpec
from weft.schema.kinds.sidecar import SidecarSpec
from weft.schema.kinds.smi import HttpRouteGroupSpec, TrafficSplitSpec
from weft.schema.kinds.telemetry import TelemetrySpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec
from weft.schema.kinds.workloadentry import WorkloadEntrySpec
from weft.schema.kinds.xbackendtrafficpolicy import XBackendTrafficPolicySpec
from weft.schema.kinds.xtelemetrypolicy import XTelemetryPolicySpec

SpecT = TypeVar("SpecT")
Kinds = Mapping[type[object], tuple[Document[object], ...]]


def build_mesh(snapshot: ConfigSnapshot, memo: Memo, step: Step = NO_STEP) -> Mesh:
    """The meaning of a snapshot. Call `memo.begin()` before; nodes whose inputs are unchanged stay the same objects.

    The order of documents and workloads does not matter. `step`: where this is one of a change that is made in steps.
    """
    kinds = memo.groups(_kind, _document_order, snapshot.documents)
    wide = _mesh_wide(memo, kinds, snapshot.settings)
    settings, catalog = wide.settings, _catalog(memo, kinds, wide, step)
    attachments, defaults = _attachments(memo, kinds, catalog, wide)
    grants = memo.over(build_grants, _of(kinds, ReferenceGrantSpec))
    rules = _destination_rules(memo, kinds, wide, catalog)
    policies = _service_policies(memo, kinds, catalog, rules, grants)
    peers, federation = _trust(memo, kinds, snapshot, settings)
    routes = memo.over(build_route_table, _routing(memo, kinds, defaults.exports), memo, catalog, grants, defaults)
    declared = _declared(memo, kinds, grants, snapshot)
    gateways = memo(build_gateways, memo, declared, routes, catalog, rules, servers_of(memo, snapshot.workloads))
    guards = _guards(memo, kinds, wide, catalog, grants, declared, routes, snapshot.endpoints)
    access = _access(memo, kinds, wide, catalog, declared, guards, snapshot.keys)
    limits, filters = _limits(memo, kinds, catalog, declared, routes), _filters(memo, kinds, snapshot, settings)
    telemetries = _telemetries(memo, kinds, wide, catalog, grants, declared, routes)
    proxies = memo.over(build_proxy_configs, _of(kinds, ProxyConfigSpec), wide)
    credentials, services = _credentials(memo, kinds, snapshot), _services(memo, kinds, snapshot, catalog, peers)
    waiting = _waiting(memo, kinds, snapshot, services, catalog, access, proxies)
    addresses = memo.over(build_addresses, snapshot.assigned, memo, catalog, wide.ranges)
    told = [each.problems for each in (wide, catalog, rules, policies, credentials, attachments, peers, federation)]
    told += [each.problems for each in (routes, gateways, guards, limits, filters, telemetries, services, addresses)]
    told += _more_problems(memo, kinds, snapshot, catalog, rules, routes, gateways, access, proxies)
    return Mesh(
        revision=snapshot.revision,
        settings=settings,
        defaults=defaults,
        catalog=catalog,
        services=services,
        workloads=snapshot.workloads,
        destination_rules=rules,
        routes=routes,
        targets=memo(build_targets, memo, services, catalog, rules, routes.subsets, defaults, policies, attachments),
        entries=memo(build_common, memo, routes, catalog, defaults),
        gateways=gateways,
        peers=peers,
        access=access,
        telemetries=telemetries,
        proxies=proxies,
        sidecars=_sidecars(memo, kinds, settings),
        guards=guards,
        federation=federation,
        limits=limits,
        filters=filters,
        acceptance=memo(_acceptance, memo, routes, gateways, catalog, rules),
        problems=tuple(sorted({problem: None for found in told for problem in found}, key=_problem_order)),
        idle=idle_problems(memo, snapshot.workloads, declared, _selecting(kinds), routes, waiting),
        overlap=step.overlap,
        refused=build_refused(memo, snapshot.distrusted, settings.trust_domain),
        credentials=credentials,
        service_policies=policies,
        addresses=addresses,
    )


def _more_problems(
    memo: Memo,
    kinds: Kinds,
    snapshot: ConfigSnapshot,
    catalog: Catalog,
    rules: DestinationRules,
    routes: RouteTable,
    gateways: Gateways,
    access: AccessPolicies,
    proxies: ProxyConfigs,
) -> Iterator[tuple[Problem, ...]]:
    """What is wrong between parts."""
    yield _access_problems(memo, kinds, snapshot, access)
    yield _proxy_problems(memo, proxies, snapshot.workloads)
    yield _flat(memo(subset_problems, memo, routes, catalog, rules))
    yield _flat(memo.rows(istio_differences, (_of(kinds, VirtualServiceSpec),), catalog))
    yield memo(selectorless_problems, catalog, routes)
    yield _workload_problems(memo, snapshot.workloads, catalog, routes, gateways)
    yield unreached_workloads(memo, snapshot.workloads)
    yield tuple(left_out_problems(memo, snapshot.documents, snapshot.left_out))
    yield _outside_problems(memo, kinds, _mesh_wide(memo, kinds, snapshot.settings).settings, catalog)


def _mesh_wide(memo: Memo, kinds: Kinds, defaults: MeshSettings) -> MeshWide:
    documents = settings_documents((*kinds.get(MeshConfigSpec, ()), *kinds.get(ConfigMapSpec, ())))
    return memo.over(build_settings, documents, defaults)


def _trust(
    memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot, settings: MeshSettings
) -> tuple[PeerPolicies, Federation]:
    """Whether callers have to prove who they are, and whose proofs are believed."""
    documents, root = _of(kinds, FederatedTrustDomainSpec), settings.root_namespace
    peers = memo.over(build_peer_policies, _peers(kinds), memo, root)
    if not documents:
        return peers, NO_FEDERATION
    return peers, memo.over(build_federation, documents, snapshot.bundles, root, settings.trust_domain)


def _catalog(memo: Memo, kinds: Kinds, wide: MeshWide, step: Step) -> Catalog:
    """Every service that a document declares."""
    entries, exports = _of(kinds, ServiceEntrySpec), wide.spec.default_service_export_to
    return memo.over(build_catalog, _of(kinds, ServiceSpec), memo, entries, exports, step.turnings)


def _destination_rules(memo: Memo, kinds: Kinds, wide: MeshWide, catalog: Catalog) -> DestinationRules:
    documents, root = _of(kinds, DestinationRuleSpec), wide.settings.root_namespace
    return memo.over(build_destination_rules, documents, catalog, root, wide.spec.default_destination_rule_export_to)


def _sidecars(memo: Memo, kinds: Kinds, settings: MeshSettings) -> Sidecars:
    documents = _of(kinds, SidecarSpec)
    return memo.over(build_sidecars, documents, settings.root_namespace) if documents else NO_SIDECARS


def _proxy_problems(memo: Memo, proxies: ProxyConfigs, workloads: tuple[Workload, ...]) -> tuple[Problem, ...]:
    """ProxyConfigs that others shut out."""
    return (*proxies.problems, *(memo(overlapping, proxies, workloads) if proxies.policies else ()))


def _outside_problems(memo: Memo, kinds: Kinds, settings: MeshSettings, catalog: Catalog) -> tuple[Problem, ...]:
    """What is wrong with Sidecars and with described instances."""
    sidecars = _sidecars(memo, kinds, settings)
    found = memo(sidecar_problems, sidecars, catalog) if sidecars.policies else ()
    return (*found, *_flat(memo.rows(entry_problems, (_of(kinds, WorkloadEntrySpec),))))


def _credentials(memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot) -> Credentials:
    """What callers show outside: one look at the DestinationRules, and at Secrets only where one asks for TLS there."""
    rules = _of(kinds, DestinationRuleSpec)
    if not rules or not memo.over(going_outside, rules):
        return NO_CREDENTIALS
    secrets = secret_documents(_of(kinds, SecretSpec), kinds.get(Unreadable, ()))
    outside = memo.over(going_outside, rules)
    if not snapshot.settings.secrets_as_needed:
        return memo.over(build_credentials, secrets, outside)
    gateways = tuple(sorted({namespace for _, namespace, *_ in servers_of(memo, snapshot.workloads)}))
    exports = _mesh_wide(memo, kinds, snapshot.settings).spec.default_destination_rule_export_to
    return memo.over(build_credentials, secrets, outside, gateways, exports)


def _attachments(memo: Memo, kinds: Kinds, catalog: Catalog, wide: MeshWide) -> tuple[Attachments, TrafficDefaults]:
    """What policies of the Gateway API that are attached to Services say, and the defaults of traffic with that."""
    tls, traffic = _of(kinds, BackendTlsPolicySpec), _of(kinds, XBackendTrafficPolicySpec)
    if not tls and not traffic:
        return NO_ATTACHMENTS, wide.defaults
    found = memo(
        build_attachments,
        memo.over(build_backend_tls_policies, tls, _of(kinds, ConfigMapSpec), catalog),
        memo.over(build_traffic_policies, traffic, catalog),
    )
    return found, memo(with_sessions, wide.defaults, found.sessions) if found.sessions else wide.defaults


def _service_policies(
    memo: Memo, kinds: Kinds, catalog: Catalog, rules: DestinationRules, grants: Grants
) -> ServicePolicies:
    documents = [document for spec in SERVICE_KINDS for document in kinds.get(spec, ())]
    if not documents:
        return NO_SERVICE_POLICIES
    return memo.over(build_service_policies, documents, memo, catalog, rules, grants)


def _services(memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot, catalog: Catalog, peers: PeerPolicies) -> Services:
    """Every service with what is behind it: registered workloads, WorkloadEntries and a cluster's instances."""
    entries, sick = _of(kinds, WorkloadEntrySpec), frozenset(snapshot.sick)
    members = memo.rows(build_entry_member, (entries, [each.key in sick for each in entries]))
    if snapshot.instances:
        members += memo.rows(build_instance_member, (snapshot.instances,))
    domain = _mesh_wide(memo, kinds, snapshot.settings).settings.trust_domain
    return build_services(memo, catalog, snapshot.workloads, peers, domain, members)


def _routing(memo: Memo, kinds: Kinds, exports: tuple[str, ...]) -> list[Document[object]]:
    """The documents that route, VirtualServices joined with their delegates, TrafficSplits with what they name."""
    joined = memo.over(join_delegates, _of(kinds, VirtualServiceSpec), memo, exports)
    others = [document for spec in ROUTE_KINDS if spec is not VirtualServiceSpec for document in kinds.get(spec, ())]
    splits, groups = _of(kinds, TrafficSplitSpec), _of(kinds, HttpRouteGroupSpec)
    return [*joined, *others, *(memo.over(join_splits, splits, memo, groups) if splits else ())]


def _flat(rows: Iterable[Sequence[Problem]]) -> tuple[Problem, ...]:
    return tuple([problem for found in rows if found for problem in found])


def _workload_problems(
    memo: Memo, workloads: tuple[Workload, ...], catalog: Catalog, routes: RouteTable, gateways: Gateways
) -> tuple[Problem, ...]:
    return workload_problems(memo, workloads, catalog, memo(_outside_hosts, routes), memo(_listener_ports, gateways))


def _declared(memo: Memo, kinds: Kinds, grants: Grants, snapshot: ConfigSnapshot) -> Declared:
    """Gateways of both APIs."""
    secrets = memo.same(secret_documents(_of(kinds, SecretSpec), kinds.get(Unreadable, ())))
    classes, maps = _of(kinds, GatewayClassSpec), memo.over(config_maps_by_key, _of(kinds, ConfigMapSpec))
    sets = _of(kinds, ListenerSetSpec)
    made = (
        memo.over(make_gateways, _of(kinds, GatewaySpec), memo, sets, classes, secrets, grants, maps),
        memo.over(make_istio_gateways, _of(kinds, IstioGatewaySpec), memo),
    )
    labels = memo.over(_labels, _of(kinds, NamespaceSpec))
    refused, partial = _refused_gateways(snapshot.problems), snapshot.settings.secrets_as_needed
    return memo(join_declared, made, refused, labels, memo.over(by_key, secrets), partial)


def _labels(namespaces: tuple[Document[NamespaceSpec], ...]) -> Mapping[str, Labels]:
    """Those of every declared namespace."""
    return MappingProxyType({document.key.name: document.labels for document in namespaces})


def _access(
    memo: Memo,
    kinds: Kinds,
    wide: MeshWide,
    catalog: Catalog,
    declared: Declared,
    guards: Guards,
    keys: tuple[KeySet, ...],
) -> AccessPolicies:
    documents = [document for spec in ACCESS_KINDS for document in kinds.get(spec, ())]
    namespaces, providers = _of(kinds, NamespaceSpec), guards.authorizers.names
    return memo.over(build_access_policies, documents, memo, wide, namespaces, catalog, declared, keys, providers)


def _waiting(
    memo: Memo,
    kinds: Kinds,
    snapshot: ConfigSnapshot,
    services: Services,
    catalog: Catalog,
    access: AccessPolicies,
    proxies: ProxyConfigs,
) -> tuple[Problem, ...]:
    """What waits for workloads, with the callers that policies name before they are there."""
    unselected = unselected_problems(memo, snapshot.workloads, catalog)
    unknown = _unknown(memo, kinds, snapshot, access) if snapshot.workloads else ()
    sidecars = _sidecars(memo, kinds, _mesh_wide(memo, kinds, snapshot.settings).settings)
    unserved = memo(unserved_ingress, sidecars, snapshot.workloads) if sidecars.policies else ()
    started = started_otherwise(memo, proxies, snapshot.workloads)
    return (*services.idle, *unselected, *unserved, *unknown, *started)


def _access_problems(memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot, access: AccessPolicies) -> tuple[Problem, ...]:
    """Where there are documents only, callers that these do not have are wrong now: nobody is waited for."""
    routed = memo.over(claim_problems, _of(kinds, VirtualServiceSpec), access)
    found = (*access.problems, *routed, *memo(crowded, access))
    return found if snapshot.workloads else (*found, *_unknown(memo, kinds, snapshot, access))


def _unknown(memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot, access: AccessPolicies) -> tuple[Problem, ...]:
    return unknown_callers(memo, access, snapshot.workloads, _of(kinds, ServiceAccountSpec))


def _selecting(kinds: Kinds) -> Policies:
    return (
        *_peers(kinds),
        *_of(kinds, TelemetrySpec),
        *_of(kinds, ProxyConfigSpec),
        *_of(kinds, AuthorizationPolicySpec),
        *_of(kinds, RequestAuthenticationSpec),
    )


def _telemetries(
    memo: Memo,
    kinds: Kinds,
    wide: MeshWide,
    catalog: Catalog,
    grants: Grants,
    declared: Declared,
    routes: RouteTable,
) -> Telemetries:
    documents = _of(kinds, TelemetrySpec)
    providers, problems = memo(build_providers, memo, wide, catalog)
    classes = memo(_gateway_classes, declared) if documents else ()
    words = memo(_route_words, routes)
    names, policies = memo(_gateway_names, declared), _of(kinds, XTelemetryPolicySpec)
    gateways = memo.over(build_gateway_tracings, policies, catalog, grants, names) if policies else NO_POLICIES
    root = wide.settings.root_namespace
    return memo.over(build_telemetries, documents, providers, problems, classes, words, gateways, root)


def _guards(
    memo: Memo,
    kinds: Kinds,
    wide: MeshWide,
    catalog: Catalog,
    grants: Grants,
    declared: Declared,
    routes: RouteTable,
    endpoints: tuple[OpenIdEndpoints, ...],
) -> Guards:
    documents = guard_documents([each for kind in (*GUARD_KINDS.values(), Unreadable) for each in kinds.get(kind, ())])
    authorizers = build_authorizers(memo, wide, catalog)
    if not documents:
        return memo(Guards, NO_GUARDS.by_target, authorizers, authorizers.problems)
    targets = memo(_guard_targets, declared, routes)
    vault = memo.over(build_vault, secret_documents(_of(kinds, SecretSpec), kinds.get(Unreadable, ())), grants)
    providers = memo.over(build_openid_providers, endpoints, catalog, wide.settings.cookie_key)
    return memo.over(build_guards, documents, memo, targets, vault, providers, authorizers)


def _limits(memo: Memo, kinds: Kinds, catalog: Catalog, declared: Declared, routes: RouteTable) -> RateLimits:
    documents = _of(kinds, RateLimitPolicySpec)
    if not documents:
        return NO_LIMITS
    return memo.over(build_rate_limits, documents, memo, catalog, memo(_limit_targets, declared, routes))


def _filters(memo: Memo, kinds: Kinds, snapshot: ConfigSnapshot, settings: MeshSettings) -> EnvoyFilters:
    documents = _of(kinds, EnvoyFilterSpec)
    if not documents:
        return NO_FILTERS
    found = memo.over(build_envoy_filters, documents, memo, snapshot.trials, settings.root_namespace)
    return memo.over(with_unpatched, [each for each in snapshot.workloads if each.carrier], found)


def _limit_targets(declared: Declared, routes: RouteTable) -> LimitTargets:
    """The Gateways of ours, and the routes that name a Gateway."""
    keys = [route.document.key for route in routes.routes if route.parents]
    return LimitTargets(_gateway_names(declared), tuple(f"{key.kind} {key.namespace}/{key.name}" for key in keys))


def _guard_targets(declared: Declared, routes: RouteTable) -> GuardTargets:
    """The Gateways of ours, and the routes of the Gateway API that name a Gateway."""
    keys = [route.document.key for route in routes.routes if route.parents and route.document.key.kind in GUARDED]
    names = sorted(f"{key.kind} {key.namespace}/{key.name}" for key in keys)
    return GuardTargets(tuple(sorted(declared.gateways)), tuple(names))


def _gateway_names(declared: Declared) -> tuple[str, ...]:
    return tuple(sorted(declared.gateways))


def _route_words(routes: RouteTable) -> tuple[str, ...]:
    """What routes say of access logs, and ``traced`` if one has a share of traces of its own."""
    documents = [route.document for route in routes.routes]
    words = {word for document in documents if (word := route_word(document))}
    traced = {"traced"} if any(trace_share(document) is not None for document in documents) else set()
    return tuple(sorted(words | traced))


def _gateway_classes(declared: Declared) -> tuple[tuple[str, str], ...]:
    """The class of each Gateway, by ``namespace/name``."""
    return tuple((name, each.gateway_class) for name, each in sorted(declared.gateways.items()))


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
