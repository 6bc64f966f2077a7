"""The context of the APIs: the objects of the control plane that handlers use, put together once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from weft.admin.audit import Audit
from weft.aio.cell import Cell
from weft.ca.authority import Authority
from weft.discovery.hub import Hub
from weft.mesh.model import Mesh
from weft.model.problem import Problem
from weft.sources.collector import Collector
from weft.sources.contents import Contents
from weft.sources.leases import Leases
from weft.sources.stored import Applied
from weft.store.protocol import Store

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
    `idle`: what has no effect until a workload is there, and since when (epoch seconds)."""

    revision: int
    mesh: Mesh | None
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    idle: Mapping[Problem, float] = field(default_factory=dict)

    def idle_for(self, seconds: float, now: float) -> tuple[Problem, ...]:
        """Those of `idle` that have been so for some time."""
        return tuple(problem for problem, since in self.idle.items() if now - since >= seconds)


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The control plane's objects that handlers read or write. `files` are the contents of followed directories, None
    without any; `faults` tells what is wrong with the control plane itself."""

    store: Store
    leases: Leases
    authority: Authority
    collector: Collector
    hub: Hub[Mesh]
    audit: Audit
    compiled: Cell[Compiled]
    enrolment: EnrolmentSettings
    files: Cell[Contents | None] | None = None
    faults: Callable[[], tuple[Problem, ...]] = tuple
    clock: Callable[[], float] = field(default=time.time)
    applied: Applied = field(default_factory=Applied)
