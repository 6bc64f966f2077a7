"""The context of the APIs: the objects of the control plane that handlers use, put together once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from weft.admin.audit import Audit
from weft.admin.audit_chain import AuditChain
from weft.admin.heard import Heard
from weft.admin.history.recorder import Recorder
from weft.admin.replicas.replicas import Replicas
from weft.admin.taps import Taps
from weft.admin.vitals import Vitals
from weft.aio.cell import Cell
from weft.ca.authority import Authority
from weft.ca.token_keys import TokenKeys
from weft.discovery.hub import Hub
from weft.mesh.model import Mesh
from weft.model.document import Document
from weft.model.federation import DomainState
from weft.model.problem import Problem
from weft.model.workload import SocketAddress, Workload
from weft.sources.collector import Collector
from weft.sources.contents import Contents
from weft.sources.kubernetes.reviews import TokenReviews
from weft.sources.leases import Leases
from weft.sources.stored import Applied
from weft.store.protocol import Store
from weft.store.sealing.sealed import SealedStore
from weft.telemetry.metrics import Registry
from weft.traffic.edges import NoTraffic, Traffic
from weft.traffic.keeper import TrafficKeeper

INTERNAL = "internal-error"
"""The code of Problems that are weft's own fault."""


@dataclass(frozen=True, slots=True)
class EnrolmentSettings:
    """What agents get in the answer to a registration.

    `xds` and `agent_api` are ``HOST:PORT`` for agents of this host; `advertised` the host that agents elsewhere use
    (empty: the address they came to). `certificate_ttl` in seconds. `bind` is where both servers listen.
    """

    xds: str
    agent_api: str
    xds_identity: str
    certificate_ttl: float
    advertised: str = ""
    bind: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Compiled:
    """The latest Mesh, the snapshot revision it means, and everything found wrong on the way (also offline checks).
    `idle`: what has no effect until a workload is there, and since when (epoch seconds). `documents` and `workloads`
    are those that it was made of."""

    revision: int
    mesh: Mesh | None
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    idle: Mapping[Problem, float] = field(default_factory=dict)
    documents: tuple[Document[object], ...] = field(default=(), repr=False)
    workloads: tuple[Workload, ...] = field(default=(), repr=False)

    def idle_for(self, seconds: float, now: float) -> tuple[Problem, ...]:
        """Those of `idle` that have been so for some time."""
        return tuple(problem for problem, since in self.idle.items() if now - since >= seconds)


def _not_counted(_: str) -> Callable[[int], None]:
    return lambda _status: None


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The control plane's objects that handlers read or write. `files` are the contents of followed directories, None
    without any; `faults` tells what is wrong with the control plane itself, `traffic` what was seen lately; `reports`
    takes what agents tell, and is that `traffic`, unless a Prometheus is. `awaited` are the proxies that a rotation of
    roots waits for, with the reason. `registry` are the metrics of this process, which are served at `metrics` too;
    `answered` counts the answers of an API by status. `secrets` is the store, if it seals them, `chain` that of the
    audit. With `kubernetes` documents that no file has come from there, and the API changes none; `token_reviews` asks
    it whose the tokens of Pods are. `replicas` are the others of this control plane; it is `stopping` while it serves
    on only until proxies have left for these. `injection` are the settings by which pods get sidecars, None where they
    get none, `revisions` what labels of Pods call this control plane.
    """

    store: Store
    leases: Leases
    authority: Authority
    collector: Collector
    hub: Hub[Mesh]
    audit: Audit
    compiled: Cell[Compiled]
    enrolment: EnrolmentSettings
    history: Recorder
    files: Cell[Contents | None] | None = None
    faults: Callable[[], tuple[Problem, ...]] = tuple
    clock: Callable[[], float] = field(default=time.time)
    applied: Applied = field(default_factory=Applied)
    taps: Taps = field(default_factory=Taps)
    registry: Registry = field(default_factory=Registry)
    answered: Callable[[str], Callable[[int], None]] = _not_counted
    metrics: SocketAddress | None = None
    traffic: Traffic = field(default_factory=lambda: NoTraffic(time.time))
    reports: TrafficKeeper | None = None
    heard: Heard = field(default_factory=Heard)
    secrets: SealedStore | None = None
    chain: AuditChain | None = None
    awaited: Callable[[], Mapping[str, str]] = dict
    vitals: Callable[[], Vitals] = Vitals
    token_keys: TokenKeys | None = None
    federation: Callable[[], tuple[DomainState, ...]] = tuple
    kubernetes: bool = False
    injection: Callable[[], object | None] = lambda: None
    revisions: tuple[str, ...] = ()
    token_reviews: TokenReviews | None = None
    replicas: Replicas = field(default_factory=Replicas)
    stopping: Cell[bool] = field(default_factory=lambda: Cell(False))
