"""Backends: what traffic can be sent to, made from services, the DestinationRule in force, and the endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import (
    Chosen,
    DestinationRules,
    RuleDocument,
    certificate_name,
    rule_origins,
    subset_labels,
    subset_names,
    traffic_policy,
)
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.policies.servicepolicies import NO_SERVICE_POLICIES, ServicePolicies
from weft.mesh.services.attached import NO_ATTACHMENTS, Attached, Attachments, with_attached
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.endpoints import Services
from weft.mesh.services.nearness import Caller, groups_for, matters
from weft.mesh.services.resilient import resilient_targets
from weft.mesh.services.service import (
    BY_CALLER,
    BY_DNS,
    Backend,
    BackendKey,
    Endpoint,
    EndpointSet,
    Frontend,
    FrontendPort,
    Location,
    MutualTls,
    Nearness,
    PerEndpoint,
    Plaintext,
    Protocol,
    Resolution,
    Service,
    Target,
    Tls,
    TrafficPolicy,
    Transport,
)
from weft.mesh.services.turning import spoken
from weft.mesh.services.zones import Peers
from weft.model.identity import SpiffeId, spiffe_id_from_text
from weft.model.labels import Labels
from weft.model.locality import locality_from_text

Subsets = Mapping[str, tuple[str, ...]]
"""The subsets that rules send to, by full name of the service."""
EMPTY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Every backend of the mesh as callers without DestinationRules of their own use it. `subsets` are those that it
    has, `connect_timeout` (in seconds; None: weft's) and `nearness` are the mesh's defaults. `placed` are those of
    which callers prefer some endpoints by where they run, `attachments` the policies of the Gateway API. Compared by
    identity."""

    all: tuple[Target, ...]
    by_key: Mapping[BackendKey, Target]
    subsets: Subsets
    connect_timeout: float | None = None
    nearness: Nearness | None = None
    placed: tuple[Target, ...] = ()
    attachments: Attachments = NO_ATTACHMENTS


@dataclass(frozen=True, slots=True, eq=False)
class CallerTargets:
    """The backends as the callers of some namespaces use them: those of `base`, but for `own`."""

    base: Targets
    own: Mapping[BackendKey, Target]

    def get(self, key: BackendKey) -> Target | None:
        """The target of a key, if the mesh has one."""
        return self.own.get(key) or self.base.by_key.get(key)

    def carried(self, memo: Memo, keys: Iterable[BackendKey]) -> list[Target]:
        """The targets of those `keys` to which connections are carried as they are. Their endpoints are those of the
        plain keys."""
        plain = [self.get(key._replace(opaque=False)) for key in keys if key.opaque]
        return [memo(opaque_target, target.backend) for target in plain if target is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Backends of which callers prefer some endpoints by where they run, and the names of the callers' `labels` that
    have a say in it; `zoned`: so do the zones of their own service. Compared by identity."""

    targets: tuple[Target, ...]
    labels: tuple[str, ...] = ()
    zoned: bool = False


def build_targets(
    memo: Memo,
    services: Services,
    catalog: Catalog,
    rules: DestinationRules,
    subsets: Subsets,
    defaults: TrafficDefaults,
    policies: ServicePolicies = NO_SERVICE_POLICIES,
    attachments: Attachments = NO_ATTACHMENTS,
) -> Targets:
    """All backends: each port of each service, and of each of its subsets."""
    found = memo.rows(rule_in_force, (catalog.frontends,), rules, "")
    wanted = [subsets.get(frontend.host, EMPTY) for frontend in catalog.frontends]
    attached = attachments.column(catalog.hosts)
    shared = (defaults.connect_timeout, defaults.nearness)
    rows = memo.rows(build_service_targets, (services.all, found, wanted, attached), *shared)
    targets = tuple([target for row in rows for target in row])
    if policies.by_host:
        targets = _with_policies(memo, targets, policies, catalog)
    placed = memo.groups(_placed, _key, targets).get(True, ())
    return Targets(targets, memo.table(_by_key, targets), subsets, *shared, placed, attachments)


def build_caller_targets(
    memo: Memo,
    base: Targets,
    services: Services,
    rules: DestinationRules,
    caller: str,
    policies: ServicePolicies = NO_SERVICE_POLICIES,
    chosen: Chosen = (),
) -> CallerTargets:
    """The backends for callers in namespace `caller`, whose own DestinationRules come first, and of these such as were
    `chosen` for some workloads."""
    own: dict[BackendKey, Target] = {}
    for host in dict.fromkeys(rules.hosts_of(caller, services.by_host, chosen)):
        service = services.by_host[host]
        rule = rules.find(caller, service.frontend, chosen)
        if rule is not rules.find("", service.frontend):
            wanted = base.subsets.get(host, EMPTY)
            attached, shared = base.attachments.by_host.get(host), (base.connect_timeout, base.nearness)
            made = memo(build_service_targets, memo, service, rule, wanted, attached, *shared)
            own.update((target.backend.key, target) for target in made)
    if policies.by_host:
        seen = CallerTargets(base, dict(own))
        for key, target in {**_relying_on(base, policies, own), **seen.own}.items():
            frontend = services.by_host[key.host].frontend
            for found in resilient_targets(memo, (target,), policies, frontend, seen.get):
                own[key] = found
    return CallerTargets(base, own)


def _relying_on(base: Targets, policies: ServicePolicies, own: Mapping[BackendKey, Target]) -> dict[BackendKey, Target]:
    """The backends for which some of these stand in: they are called as the callers' own documents say then, too."""
    return {
        target.backend.key: target
        for target in (base.all if own else ())
        if target.backend.key.host in policies.by_host
        and any(BackendKey(*each) in own for each in target.backend.resilience.fallbacks)
    }


def _with_policies(
    memo: Memo, targets: tuple[Target, ...], policies: ServicePolicies, catalog: Catalog
) -> tuple[Target, ...]:
    """The backends of services with policies in place of what they are without."""
    before = {target.backend.key: target for target in targets}
    plain = dict(before)
    of_host: dict[str, list[Target]] = {}
    for target in targets:
        if target.backend.key.host in policies.by_host:
            of_host.setdefault(target.backend.key.host, []).append(target)
    for host, own in of_host.items():
        for found in resilient_targets(memo, own, policies, catalog.by_host[host], before.get):
            plain[found.backend.key] = found
    return tuple(plain.values())


def opaque_target(backend: Backend) -> Target:
    """A backend for connections that are carried as they are, whatever its port speaks."""
    return Target(replace(backend, key=backend.key._replace(opaque=True), protocol=Protocol.TCP, requests=None), None)


def rule_in_force(_memo: Memo, frontend: Frontend, rules: DestinationRules, caller: str) -> RuleDocument | None:
    """The DestinationRule for callers in namespace `caller` (empty: one without rules)."""
    return rules.find(caller, frontend)


def build_service_targets(
    memo: Memo,
    service: Service,
    rule: RuleDocument | None,
    subsets: tuple[str, ...],
    attached: Attached | None = None,
    connect_timeout: float | None = None,
    nearness: Nearness | None = None,
) -> tuple[Target, ...]:
    """The backends of one service: itself, each subset of its rule, and each of `subsets`, to which routes send.

    A subset is there before a route sends to it and after the last one did: proxies act on that at their own time, and
    must find what they are still, or already, told to use. A Backend stays the same object while only endpoints come
    and go.
    """
    names = dict.fromkeys(("", *subset_names(rule), *subsets))
    return tuple(
        [
            build_target(memo, service.frontend, port, endpoints, rule, subset, attached, connect_timeout, nearness)
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
    attached: Attached | None = None,
    connect_timeout: float | None = None,
    nearness: Nearness | None = None,
) -> Target:
    """One backend with its endpoints. A subset that no DestinationRule in force defines has none."""
    key = BackendKey(frontend.host, port.number, subset)
    if subset:
        labels = subset_labels(rule, subset)
        wanted = None if labels is None else set(labels)
        endpoints = () if wanted is None else tuple([one for one in endpoints if wanted <= set(one.labels)])
    policy = memo(traffic_policy, rule, port.number, subset, connect_timeout, frontend.distribution, nearness)
    if attached is not None:
        policy = memo(with_attached, policy, attached, port.name)
    identities = tuple(sorted({one.identity for one in endpoints if one.identity is not None} | _named(frontend)))
    protection = _protection(frontend, policy, endpoints)
    dns = endpoints if frontend.resolution in BY_DNS or (endpoints and frontend.resolution in BY_CALLER) else ()
    bare = protection is PerEndpoint and any(not one.mutual_tls and one.identity is None for one in endpoints)
    backend = memo(_backend, frontend, port, subset, rule, policy, identities, protection, attached, dns, bare)
    return Target(backend, None if backend.outside else EndpointSet(key, endpoints))


def _named(frontend: Frontend) -> set[SpiffeId]:
    """The identities among the names that its document lets its servers have."""
    found = (spiffe_id_from_text(name) for name in frontend.alt_names)
    return {identity for identity in found if identity is not None}


def _backend(
    frontend: Frontend,
    port: FrontendPort,
    subset: str,
    rule: RuleDocument | None,
    policy: TrafficPolicy,
    identities: tuple[SpiffeId, ...],
    protection: type[Transport],
    attached: Attached | None,
    dns: tuple[Endpoint, ...],
    bare: bool,
) -> Backend:
    return Backend(
        key=BackendKey(frontend.host, port.number, subset),
        protocol=spoken(port),
        policy=policy,
        transport=_transport(frontend, policy, identities, protection, bare=bare),
        object=frontend.key,
        origins=(frontend.origin, *rule_origins(rule, subset), *(attached.origins if attached is not None else ())),
        dns=dns,
        single=frontend.resolution is Resolution.DNS_ROUND_ROBIN,
        by_caller=frontend.by_caller,
        requests=port.turning.requests if port.turning else None,
    )


def _transport(
    frontend: Frontend,
    policy: TrafficPolicy,
    identities: tuple[SpiffeId, ...],
    protection: type[Transport],
    *,
    bare: bool,
) -> Transport:
    if policy.tls is not None and protection is Tls:
        return tls_towards(frontend, policy.tls)
    if protection is Plaintext:
        return Plaintext()
    believed = tuple([each for each in identities if not policy.accepted or str(each) in policy.accepted])
    mutual = MutualTls(believed, policy.sni)
    return mutual if protection is MutualTls else PerEndpoint(mutual, bare)


def tls_towards(frontend: Frontend, tls: Tls) -> Tls:
    """TLS with a service. Its document may say which names its servers have. A Service that only gives a host outside
    another name (ExternalName) is asked for by that host: no certificate has the name it is called by here."""
    if not tls.names and not tls.insecure:
        tls = replace(tls, names=tuple([certificate_name(name) for name in frontend.alt_names]))
    if frontend.is_service and frontend.members:
        host = frontend.members[0].address
        names = tls.names if tls.names or tls.sni or tls.insecure else (certificate_name(host),)
        return replace(tls, sni=tls.sni or host, host=host, names=names)
    return replace(tls, host="" if frontend.called.startswith("*") else frontend.called)


def _protection(frontend: Frontend, policy: TrafficPolicy, endpoints: tuple[Endpoint, ...]) -> type[Transport]:
    """How connections are protected: as the policy says, otherwise as the endpoints accept it."""
    if policy.tls is not None:
        return Tls
    if frontend.location is Location.OUTSIDE or policy.mutual_tls is False:
        return Plaintext
    capable = sum([endpoint.mutual_tls for endpoint in endpoints])
    if policy.mutual_tls or capable == len(endpoints):
        return MutualTls
    return PerEndpoint if capable else Plaintext


def placed_targets(targets: CallerTargets) -> Placed | None:
    """Those of which callers prefer some endpoints by where they run; None if there are none."""
    own = [target for target in targets.own.values() if _placed(target)]
    found = (*[target for target in targets.base.placed if target.backend.key not in targets.own], *own)
    every = [target.backend.policy.nearness for target in found]
    labels = {label for nearness in every if nearness for label, value in nearness.labels if value is None}
    zoned = any(nearness is not None and nearness.zones is not None for nearness in every)
    return Placed(found, tuple(sorted(labels)), zoned) if found else None


def place_targets(
    memo: Memo, targets: CallerTargets, placed: Placed, place: str, labels: Labels, peers: Peers
) -> CallerTargets:
    """The backends as callers at `place` (a locality as it is written) and with these `labels` use them; `peers` are
    the instances of their service."""
    found = [memo(place_target, target, place, labels, peers if _is_zoned(target) else ()) for target in placed.targets]
    own = {
        target.backend.key: target for target, before in zip(found, placed.targets, strict=True) if target is not before
    }
    return CallerTargets(targets.base, {**targets.own, **own}) if own else targets


def _is_zoned(target: Target) -> bool:
    nearness = target.backend.policy.nearness
    return nearness is not None and nearness.zones is not None


def place_target(target: Target, place: str, labels: Labels, peers: Peers = ()) -> Target:
    """A backend whose endpoints a caller at `place` uses in an order, or in shares, of its own."""
    nearness, members = target.backend.policy.nearness, target.endpoints
    if nearness is None or members is None:
        return target
    groups = groups_for(nearness, members.endpoints, Caller(locality_from_text(place), labels, peers))
    return Target(target.backend, replace(members, groups=groups)) if groups else target


def _placed(target: Target) -> tuple[bool, ...]:
    members = target.endpoints
    return (True,) if members is not None and matters(target.backend.policy.nearness, members.endpoints) else ()


def _key(target: Target) -> BackendKey:
    return target.backend.key


def _by_key(target: Target) -> Iterable[tuple[BackendKey, Target]]:
    return ((target.backend.key, target),)
