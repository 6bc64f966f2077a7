"""Facts: what an explanation is made from: the mesh in force, what is wrong with it, and how proxies are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.explain.answer import Change, Decider
from weft.explain.matching import Request
from weft.mesh.model import Mesh
from weft.mesh.services.service import BackendKey, Frontend, Target
from weft.mesh.views import ProxyView
from weft.model.document import Document, ObjectKey
from weft.model.labels import selects
from weft.model.origin import Origin, PathPart
from weft.model.problem import Problem
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """A connected proxy: when its certificate ends (epoch seconds), what it refuses in its own words (empty: nothing)
    and where that is written, and whether it has stopped to answer."""

    certificate_expires: float
    refuses: str = ""
    refuses_source: str = ""
    stuck: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """`problems` are all that are known now, `proxies` the connected ones by name (None: unknown), `unresolved` names
    that DNS does not have as the control plane's host sees it, `changes` what was changed lately, the latest first;
    `now` in seconds since the epoch."""

    mesh: Mesh
    now: float
    documents: Mapping[ObjectKey, Document[object]] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    proxies: Mapping[str, ProxyFacts] | None = None
    unresolved: frozenset[str] = frozenset()
    changes: tuple[Change, ...] = ()

    def workload(self, proxy: str) -> Workload | None:
        """The registered workload of a proxy."""
        return next((one for one in self.mesh.workloads if one.proxy == proxy), None)

    def proxy(self, name: str) -> ProxyFacts | None:
        """A connected proxy."""
        return self.proxies.get(name) if self.proxies is not None else None

    def selected(self, frontend: Frontend) -> tuple[Workload, ...]:
        """The workloads that a service selects, in any state."""
        if not frontend.selector:
            return ()
        return tuple(
            one
            for one in self.mesh.workloads
            if one.namespace == frontend.namespace and selects(frontend.selector, one.labels)
        )

    def about(self, keys: Iterable[ObjectKey]) -> tuple[Problem, ...]:
        """The problems of these objects."""
        wanted = frozenset(keys)
        return tuple(problem for problem in self.problems if problem.object in wanted)

    def place(self, key: ObjectKey, *path: PathPart) -> Origin | None:
        """Where a field of an object is written, if its document is known."""
        document = self.documents.get(key)
        return document.at(*path) if document is not None else None


@dataclass(frozen=True, slots=True)
class Question:
    """A request that the proxy of `caller` would be given, with what that proxy does (`view`). `described`: the caller
    stands for any workload of its namespace."""

    caller: Workload
    view: ProxyView
    request: Request
    described: bool = False


def decider(key: ObjectKey | None, origin: Origin | None) -> Decider | None:
    """The document that decides, as it is shown."""
    return Decider(str(key) if key else "", str(origin) if origin else "") if key or origin else None


def target_of(view: ProxyView, key: BackendKey) -> Target | None:
    """What a proxy knows of a backend."""
    own = next((one for one in view.targets.own if one.backend.key == key), None)
    if own is not None or view.targets.base is None:
        return own
    return view.targets.base.by_key.get(key)
