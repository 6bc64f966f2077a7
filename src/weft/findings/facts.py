"""Facts: what `weft check` looks at, gathered at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.findings.analysis.subject import Subject
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.model.workload import Workload

NOWHERE = Origin("")


@dataclass(frozen=True, slots=True)
class ProxyFact:
    """One connected proxy. `revision` was offered, `confirmed` has been; times are epoch seconds."""

    name: str
    revision: int
    confirmed: int
    certificate_ends: float
    connected: float
    envoy: str = ""
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadFact:
    """One registration. `ahead` is by how many seconds its agent's clock is before ours (None: not known); the
    certificate that it was given last is valid from `begins` to `ends`, in epoch seconds (0: not known)."""

    workload: Workload
    connected: bool
    ahead: float | None = None
    version: str = ""
    begins: float = 0.0
    ends: float = 0.0


@dataclass(frozen=True, slots=True)
class ControlPlaneFact:
    """The control plane's process. Ends of certificates in epoch seconds (0: not known), sizes in bytes.
    `own_root`: weft made the mesh's root."""

    version: str
    late: float = 0.0
    build: float = 0.0
    free: int | None = None
    room: int | None = None
    root_ends: float = 0.0
    intermediate_ends: float = 0.0
    server_ends: float = 0.0
    own_root: bool = True


@dataclass(frozen=True, slots=True)
class EdgeFact:
    """The calls of one workload to one service in the window: `source` ``NAMESPACE/WORKLOAD`` (empty: not known),
    `destination` ``NAMESPACE/SERVICE`` or a host outside, `flags` Envoy's response flags with their counts, `p95` the
    milliseconds that 95 of 100 requests did not exceed (None: not known)."""

    source: str
    destination: str
    requests: int
    failures: int
    codes: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    mtls: bool | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class RequestFact:
    """Why requests that a proxy noted in the window have failed, with a code of the catalogue: `count` of them, the id
    of one, and where that is written, if it is. Where a policy denied them, `peer` (``NAME.NAMESPACE``) called."""

    proxy: str
    code: str
    text: str
    count: int
    object: ObjectKey | None = None
    origin: Origin = NOWHERE
    id: str = ""
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. `subject` is None while nothing could be compiled; `followed` are the objects of followed files,
    `unreachable` addresses of workloads that could not be connected to, each with the reason; `tried_envoy` is the
    version of Envoy this weft was tried with; `command` is the version of weft that asks; `revisions` are what
    labels of Pods call this control plane (none: there is no other)."""

    now: float
    control_plane: ControlPlaneFact
    proxies: tuple[ProxyFact, ...] = ()
    workloads: tuple[WorkloadFact, ...] = ()
    problems: tuple[Problem, ...] = ()
    documents: tuple[Document[object], ...] = ()
    followed: frozenset[ObjectKey] = frozenset()
    subject: Subject | None = None
    unreachable: tuple[tuple[str, str, str], ...] = ()
    edges: tuple[EdgeFact, ...] = ()
    requests: tuple[RequestFact, ...] = ()
    window: float = 60.0
    tried_envoy: str = ""
    command: str = ""
    revisions: tuple[str, ...] = ()
