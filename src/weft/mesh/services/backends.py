"""Backends: what traffic can be sent to, made from services, the DestinationRule in force, and the endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import (
    DestinationRules,
    RuleDocument,
    rule_origins,
    subset_labels,
    subset_names,
    traffic_policy,
)
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.endpoints import Services
from weft.mesh.services.service import (
    Backend,
    BackendKey,
    Endpoint,
    EndpointSet,
    Frontend,
    FrontendPort,
    Location,
    MutualTls,
    PerEndpoint,
    Plaintext,
    Resolution,
    Service,
    Target,
    TrafficPolicy,
    Transport,
)
from weft.model.identity import SpiffeId

Subsets = Mapping[str, tuple[str, ...]]
"""The subsets that rules send to, by full name of the service."""
EMPTY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Every backend of the mesh as callers without DestinationRules of their own use it. `subsets` are those that it
    has, `connect_timeout` is the mesh's default, in seconds (None: weft's). Compared by identity."""

    all: tuple[Target, ...]
    by_key: Mapping[BackendKey, Target]
    subsets: Subsets
    connect_timeout: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CallerTargets:
    """The backends as the callers of some namespaces use them: those of `base`, but for `own`."""

    base: Targets
    own: Mapping[BackendKey, Target]

    def get(self, key: BackendKey) -> Target | None:
        """The target of a key, if the mesh has one."""
        return self.own.get(key) or self.base.by_key.get(key)


def build_targets(
    memo: Memo,
    services: Services,
    catalog: Catalog,
    rules: DestinationRules,
    subsets: Subsets,
    defaults: TrafficDefaults,
) -> Targets:
    """All backends: each port of each service, and of each of its subsets."""
    found = memo.rows(rule_in_force, (catalog.frontends,), rules, "")
    wanted = [subsets.get(frontend.host, EMPTY) for frontend in catalog.frontends]
    rows = memo.rows(build_service_targets, (services.all, found, wanted), defaults.connect_timeout)
    targets = tuple([target for row in rows for target in row])
    return Targets(targets, memo.table(_by_key, targets), subsets, defaults.connect_timeout)


def build_caller_targets(
    memo: Memo, base: Targets, services: Services, rules: DestinationRules, caller: str
) -> CallerTargets:
    """The backends for callers in namespace `caller`, whose own DestinationRules come first."""
    own: dict[BackendKey, Target] = {}
    for host in rules.hosts_of(caller, services.by_host):
        service = services.by_host[host]
        rule = rules.find(caller, service.frontend)
        if rule is not rules.find("", service.frontend):
            wanted = base.subsets.get(host, EMPTY)
            made = memo(build_service_targets, memo, service, rule, wanted, base.connect_timeout)
            own.update((target.backend.key, target) for target in made)
    return CallerTargets(base, own)


def rule_in_force(_memo: Memo, frontend: Frontend, rules: DestinationRules, caller: str) -> RuleDocument | None:
    """The DestinationRule for callers in namespace `caller` (empty: one without rules)."""
    return rules.find(caller, frontend)


def build_service_targets(
    memo: Memo,
    service: Service,
    rule: RuleDocument | None,
    subsets: tuple[str, ...],
    connect_timeout: float | None = None,
) -> tuple[Target, ...]:
    """The backends of one service: itself, each subset of its rule, and each of `subsets`, to which routes send.

    A subset is there before a route sends to it and after the last one did: proxies act on that at their own time, and
    must find what they are still, or already, told to use. A Backend stays the same object while only endpoints come
    and go.
    """
    names = dict.fromkeys(("", *subset_names(rule), *subsets))
    return tuple(
        [
            build_target(memo, service.frontend, port, endpoints, rule, subset, connect_timeout)
            for port, endpoints in service.ports()
            for subset in names
        ]
    )


def build_target(
    memo: Memo,
    frontend: Frontend,
    port: FrontendPort,
    endpoints: tuple[Endpoint, ...],
    rule: RuleDocument | None,
    subset: str,
    connect_timeout: float | None = None,
) -> Target:
    """One backend with its endpoints. A subset that no DestinationRule in force defines has none."""
    key = BackendKey(frontend.host, port.number, subset)
    if subset:
        labels = subset_labels(rule, subset)
        wanted = None if labels is None else set(labels)
        endpoints = () if wanted is None else tuple([one for one in endpoints if wanted <= set(one.labels)])
    policy = memo(traffic_policy, rule, port.number, subset, connect_timeout)
    identities = tuple(sorted({endpoint.identity for endpoint in endpoints}))
    protection = _protection(frontend, policy, endpoints)
    backend = memo(_backend, frontend, port, subset, rule, policy, identities, protection)
    return Target(backend, None if backend.address else EndpointSet(key, endpoints))


def _backend(
    frontend: Frontend,
    port: FrontendPort,
    subset: str,
    rule: RuleDocument | None,
    policy: TrafficPolicy,
    identities: tuple[SpiffeId, ...],
    protection: type[Transport],
) -> Backend:
    mutual = MutualTls(identities)
    transports: dict[type[Transport], Transport] = {
        Plaintext: Plaintext(),
        MutualTls: mutual,
        PerEndpoint: PerEndpoint(mutual),
    }
    return Backend(
        key=BackendKey(frontend.host, port.number, subset),
        protocol=port.protocol,
        policy=policy,
        transport=transports[protection],
        object=frontend.key,
        origins=(frontend.origin, *rule_origins(rule, subset)),
        address=frontend.address if frontend.resolution is Resolution.DNS else "",
    )


def _protection(frontend: Frontend, policy: TrafficPolicy, endpoints: tuple[Endpoint, ...]) -> type[Transport]:
    """How connections are protected: as the policy says, otherwise as the endpoints accept it."""
    if frontend.location is Location.OUTSIDE or policy.mutual_tls is False:
        return Plaintext
    capable = sum([endpoint.mutual_tls for endpoint in endpoints])
    if policy.mutual_tls or capable == len(endpoints):
        return MutualTls
    return PerEndpoint if capable else Plaintext


def _by_key(target: Target) -> Iterable[tuple[BackendKey, Target]]:
    return ((target.backend.key, target),)
