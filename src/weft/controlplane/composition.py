"""The composition: every object of a control plane, made once and joined to the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from weft.admin.audit import Audit
from weft.admin.audit_chain import AuditChain
from weft.admin.context import ApiContext, EnrolmentSettings
from weft.admin.heard import Heard
from weft.admin.history.recorder import Recorder
from weft.admin.history.resources import Watch
from weft.admin.replicas.telling import Telling
from weft.aio.cell import Cell
from weft.ca.authority import Authority
from weft.ca.token_keys import TokenKeys
from weft.controlplane.builds import Builds
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.cluster import ClusterWrites
from weft.controlplane.connections import Connections
from weft.controlplane.distrust import DistrustKeeper
from weft.controlplane.door import Door
from weft.controlplane.envoy_judge import EnvoyJudge
from weft.controlplane.faults import Faults
from weft.controlplane.federation import Bundles, get_within_limits
from weft.controlplane.gateways import GatewayKeeper
from weft.controlplane.identity_roots import IdentityRoots
from weft.controlplane.imports import ImportEvents
from weft.controlplane.instruments import Instruments
from weft.controlplane.kubernetes import doors, kubernetes_sources, token_reviews, user_reviews
from weft.controlplane.modes import Modes
from weft.controlplane.others import Others, build_others
from weft.controlplane.rate_limits import rate_limit_service
from weft.controlplane.replicas import Served, Together, build_replicas
from weft.controlplane.settings import ServeSettings
from weft.controlplane.shared_directory import SharedFiles
from weft.controlplane.shared_state import SharedState, leads_for, rest_for
from weft.controlplane.trust import TrustKeeper
from weft.controlplane.upstream import UpstreamKeeper
from weft.controlplane.vitals import ControlPlaneVitals
from weft.controlplane.webhook_composition import Webhooks, build_webhooks, own_namespace
from weft.controlplane.writers import cluster_writers
from weft.counters.counters import Counters
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.rate_limits import RateLimitService
from weft.mesh.model import Mesh
from weft.model.bundles import key_set
from weft.model.problem import Problem
from weft.model.workload import SocketAddress
from weft.settings.endpoints import Endpoints
from weft.settings.open_files import raise_open_files
from weft.sources.addresses import AddressSource
from weft.sources.bundles import bundles_source
from weft.sources.collector import Collector
from weft.sources.contents import Contents, Source, owned_keys
from weft.sources.demand import Demand
from weft.sources.distrust import distrust_source
from weft.sources.files import FilesSource
from weft.sources.imports.source import ImportSource
from weft.sources.keysets import KeySource
from weft.sources.kubernetes.referred import ReferredSource
from weft.sources.leases import Leases, carriers_of
from weft.sources.openid import OpenIdSource
from weft.sources.own_keys import OwnKeysSource
from weft.sources.probes import ProbeSource
from weft.sources.stored import Applied, StoredSource
from weft.sources.trials import TrialSource
from weft.sources.workloads import workloads_source
from weft.store.keys import kept_key
from weft.store.sealing.sealed import SealedStore
from weft.telemetry.metrics import Registry
from weft.traffic.keeper import TrafficKeeper
from weft.traffic.prometheus_client import PrometheusTraffic

_AGE_WITH_OTHERS = 600.0
"""Seconds. A replica that comes has its share of the proxies after so long, of which each connects anew as often."""


class Watched(Protocol):
    """What may be in trouble."""

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now."""


class Running(Protocol):
    """What has a task of its own."""

    async def run(self) -> None:
        """Run for ever."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """What stands before anything listens: the store, the authority, the instruments of both, the counters of shared
    rate limits, and what keeps the authority fresh where another one is above or beside it. `shared`: other control
    planes have the same store and authority."""

    store: SealedStore
    authority: Authority
    instruments: Instruments
    counters: Counters
    upstream: UpstreamKeeper | None = None
    identities: IdentityRoots | None = None
    shared: SharedState | None = None

    @property
    def leads(self) -> Callable[[], bool]:
        """Whether this control plane does what one does for all that have this store and authority."""
        return leads_for(self.shared)

    @property
    def rest(self) -> Callable[[float], Awaitable[None]]:
        """How who does that waits until it is to be looked at again."""
        return rest_for(self.shared)

    def begin_to_lead(self) -> None:
        """It works: where several have them, it may from now on be the one."""
        if self.shared is not None:
            self.shared.leader.begin()

    def problems(self) -> tuple[Problem, ...]:
        """That it can never do so."""
        return self.shared.leader.problems() if self.shared is not None else ()


@dataclass(frozen=True, slots=True)
class Composition:
    """What the servers are given, and what runs for ever beside them."""

    context: ApiContext
    certificates: ServerCertificates
    others: Others
    forever: tuple[Running, ...]
    rate_limits: RateLimitService
    webhooks: Webhooks
    telling: Telling


async def compose(
    settings: ServeSettings, foundation: Foundation, endpoints: Endpoints, metrics: SocketAddress | None
) -> Composition:
    """Everything of a control plane that listens at `endpoints`, and for Prometheus at `metrics`. StoreError if what is
    kept cannot be read."""
    store, authority, home = foundation.store, foundation.authority, settings.home
    instruments, applied, token_keys = foundation.instruments, Applied(), _token_keys(settings, foundation)
    audit, faults = Audit(store), Faults(store)
    collector, contents = await _collector(settings, foundation, applied, token_keys, ImportEvents(audit, instruments))
    distrust, leases = _distrust(foundation, collector), _leases(settings, store, collector)
    chain, heard, reports = AuditChain(store, audit), Heard(), TrafficKeeper(lambda: len(collector.snapshot.workloads))
    (demand, modes), watch = await _loaded(Demand(store, collector.workload), Modes(store)), Watch()
    compiler, connections = MeshCompiler(), Connections(leases, demand, watch, collector.workload)
    hub = Hub[Mesh](compiler, audit.record, _limits(settings), connections, demand.of, instruments, distrust.refusal)
    recorder = Recorder(store, watch, hub.wait_revision, lambda: owned_keys(contents), foundation.leads)
    builds = Builds(collector, hub, compiler, modes, recorder=recorder, instruments=instruments)
    bundles, certificates = await _bundles(settings, foundation, builds), _certificates(settings, foundation)
    together = build_replicas(settings, endpoints, certificates, Served(hub, builds, heard), foundation.counters)
    others = build_others(settings, authority, lambda: collector.snapshot.distrusted, user_reviews(settings))
    webhooks = build_webhooks(settings, authority, collector, endpoints.agent_api)
    writes = _writers(settings, collector, builds, together, webhooks, instruments)
    trusted = (home.trust_bundle, certificates.renew, foundation.leads)
    trust = TrustKeeper(authority, collector, heard, leases, *trusted, replicas=together.replicas)
    reviews = token_reviews(settings.kubernetes, audit)
    beside = (*writes, *webhooks.running, *reviews, *_above(settings, foundation, endpoints), together)
    context = ApiContext(
        store,
        leases,
        authority,
        collector,
        hub,
        audit,
        builds.compiled,
        _enrolment(settings, endpoints, certificates),
        recorder,
        contents,
        lambda: (*faults(), *_all_of(foundation, recorder, store, others, trust, bundles, *beside)),
        applied=applied,
        traffic=PrometheusTraffic(settings.prometheus) if settings.prometheus else reports,
        reports=reports,
        registry=instruments.registry,
        answered=instruments.answered,
        metrics=metrics,
        secrets=store,
        chain=chain,
        heard=heard,
        awaited=trust.awaited,
        vitals=ControlPlaneVitals(instruments.lateness, home.control_plane, authority, certificates),
        token_keys=token_keys,
        federation=bundles.states,
        kubernetes=settings.kubernetes is not None,
        injection=webhooks.injection,
        revisions=settings.webhooks.revision.names if settings.webhooks is not None else (),
        token_reviews=next(iter(reviews), None),
        replicas=together.replicas,
    )
    own = (store, audit, chain, faults, certificates, leases, demand, recorder, reports, instruments.lateness, trust)
    kept: tuple[Running, ...] = (distrust, token_keys, bundles, *others.forever, *beside)
    limits, telling = _rate_limits(settings, foundation, builds, collector, distrust), together.telling
    return Composition(context, certificates, others, (collector, builds, *own, *kept), limits, webhooks, telling)


def _writers(
    settings: ServeSettings,
    collector: Collector,
    builds: Builds,
    together: Together,
    webhooks: Webhooks,
    instruments: Instruments,
) -> tuple[ClusterWrites | GatewayKeeper, ...]:
    told = (builds.compiled, together.lacking)
    return cluster_writers(settings, collector, *told, webhooks.injection, instruments.registry)


async def _bundles(settings: ServeSettings, foundation: Foundation, builds: Builds) -> Bundles:
    """Those of other trust domains. StoreError if what is kept of them cannot be read."""
    get = get_within_limits(settings.bundle_networks)
    bundles = Bundles(foundation.store, builds.compiled, foundation.authority, get)
    await bundles.load()
    return bundles


async def _loaded(demand: Demand, modes: Modes) -> tuple[Demand, Modes]:
    """Both with what is kept of them. StoreError if it cannot be read."""
    await demand.load()
    await modes.load()
    return demand, modes


def _distrust(foundation: Foundation, collector: Collector) -> DistrustKeeper:
    """Ends of trust, of which one control plane forgets what has expired."""
    return DistrustKeeper(foundation.store, collector, foundation.leads, sleep=foundation.rest)


def _leases(settings: ServeSettings, store: SealedStore, collector: Collector) -> Leases:
    """Leases that know which workloads share a proxy."""
    leases = Leases(store, settings.lease)
    leases.carriers = lambda: carriers_of(collector.snapshot.workloads)
    return leases


def _certificates(settings: ServeSettings, foundation: Foundation) -> ServerCertificates:
    hosts = [host for host in (settings.bind, settings.advertise) if host]
    made = ServerCertificates(foundation.authority, hosts, settings.home.control_plane, settings.certificate_ttl)
    foundation.instruments.certified(lambda: made.current.value.not_after)
    return made


def _rate_limits(
    settings: ServeSettings, foundation: Foundation, builds: Builds, collector: Collector, distrust: DistrustKeeper
) -> RateLimitService:
    domain, instruments = settings.mesh.trust_domain, foundation.instruments
    found = (collector.workload, domain, distrust.refusal, instruments)
    return rate_limit_service(foundation.counters, builds.compiled, *found)


async def _collector(
    settings: ServeSettings, foundation: Foundation, applied: Applied, token_keys: TokenKeys, events: ImportEvents
) -> tuple[Collector, Cell[Contents | None] | None]:
    """The collector over all sources, and what files hold, whose documents are in force before others of the same
    key."""
    files = FilesSource(settings.follow, settings.namespace) if settings.follow else None
    store, epoch = foundation.store, foundation.authority.rotation.epoch
    in_cluster = settings.kubernetes is not None
    key = await kept_key(store, "cookies")
    mesh = replace(settings.mesh, cookie_key=key, trust_epoch=epoch, secrets_as_needed=in_cluster)
    sources: list[Source] = [files] if files else []
    keys = KeySource(store, lambda: collector.collected)
    providers = OpenIdSource(store, lambda: collector.collected)
    documents, referred = _documents(settings, store, applied, foundation.instruments.registry)
    sources += [*documents, workloads_source(store), keys, providers]
    own = OwnKeysSource(settings.mesh.trust_domain, lambda: key_set(token_keys.published()))
    sources += [bundles_source(store), distrust_source(store), own]
    addresses = AddressSource(store, lambda: collector.collected)
    await addresses.load()
    sources.append(addresses)
    judge = EnvoyJudge(settings.home.control_plane)
    sources.append(TrialSource(store, lambda: collector.collected, judge))
    sources.append(ProbeSource(lambda: collector.collected, settings.probe_networks))
    sources += [ImportSource(each, store, events) for each in settings.imports]
    collector = Collector(sources, mesh, admits=referred.admits) if referred else Collector(sources, mesh)
    return collector, files.contents if files else None


def _documents(
    settings: ServeSettings, store: SealedStore, applied: Applied, registry: Registry
) -> tuple[list[Source], ReferredSource | None]:
    """Where documents come from that no followed file has, and workloads that no agent has registered; in a cluster
    also what documents refer to."""
    if settings.kubernetes is None:
        return [StoredSource(store, applied)], None
    always = (settings.mesh.root_namespace, own_namespace(settings))
    return kubernetes_sources(settings.kubernetes, registry, settings.discovery_selectors, always)


def _all_of(*told: Watched) -> tuple[Problem, ...]:
    return tuple(problem for one in told for problem in one.problems())


def _above(
    settings: ServeSettings, foundation: Foundation, endpoints: Endpoints
) -> tuple[UpstreamKeeper | IdentityRoots | SharedFiles | Door, ...]:
    above = tuple(one for one in (foundation.upstream, foundation.identities) if one is not None)
    shared, told = foundation.shared, doors(settings, foundation.authority, endpoints)
    return (*above, *told) if shared is None else (*above, *told, shared.authority, shared.keys)


def _token_keys(settings: ServeSettings, foundation: Foundation) -> TokenKeys:
    shared, directory = foundation.shared, settings.home.ca
    if shared is None:
        return TokenKeys(directory, settings.mesh.trust_domain)
    token_keys = TokenKeys(directory, settings.mesh.trust_domain, shared=shared.authority)
    shared.follow(foundation.authority, token_keys)
    return token_keys


def _enrolment(settings: ServeSettings, endpoints: Endpoints, certificates: ServerCertificates) -> EnrolmentSettings:
    identity, ttl = str(certificates.current.value.identity), settings.certificate_ttl
    return EnrolmentSettings(endpoints.xds, endpoints.agent_api, identity, ttl, settings.advertise, settings.bind)


def _limits(settings: ServeSettings) -> Limits:
    """Connections end often enough for proxies to show renewed certificates, and to find new replicas; and leave files
    for the other servers."""
    limits = settings.limits
    age = min(limits.connection_age, max(1.0, settings.certificate_ttl / 4))
    if settings.replicas is not None:
        age = min(age, _AGE_WITH_OTHERS)
    return replace(limits, connection_age=age, connections=min(limits.connections, raise_open_files() // 2))
