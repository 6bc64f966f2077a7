"""Snapshots: what every connected proxy should hold, built from the mesh in force."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.xds.snapshot import XdsSnapshot

MeshT = TypeVar("MeshT")
MeshT_contra = TypeVar("MeshT_contra", contravariant=True)

_PREPARED = 64
"""Namespaces. More proxies than that do not come at once."""
_IDLE_SECONDS = 3.0


class Compiler(Protocol[MeshT_contra]):
    """How a snapshot is made; `weft.discovery.compiler.MeshCompiler` in a control plane."""

    def compile(self, mesh: MeshT_contra, workload: Workload, revision: int) -> XdsSnapshot:
        """What the workload's proxy should hold."""

    def steps(self, mesh: MeshT_contra, workload: Workload) -> Iterator[None]:
        """Do what `compile` would spend long on, a little at a time: after the last step it takes little."""

    def published(self) -> None:
        """Every connected proxy has its snapshot of the mesh: what none of them uses can be forgotten."""

    def idle(self) -> None:
        """Nothing was published for a while: a good time to forget it."""


class Snapshots(Generic[MeshT]):
    """`workloads` are those of the mesh in force; `tell` hears of a build that fails, once."""

    def __init__(self, compiler: Compiler[MeshT], tell: Callable[[Problem], None]) -> None:
        self._compiler = compiler
        self._tell = tell
        self._finished: float | None = None
        self._mesh: MeshT | None = None
        self._revision = -1
        self._current: dict[str, XdsSnapshot] = {}
        self._failures: dict[str, Problem] = {}
        self.workloads: Mapping[str, Workload] = {}

    def start(self, mesh: MeshT, workloads: Mapping[str, Workload], revision: int) -> None:
        """From now on snapshots are built from `mesh`."""
        self._mesh, self.workloads, self._revision = mesh, workloads, revision

    def prepare(self) -> None:
        """Build for one proxy of each namespace, so that the first that come find made what they share. What fails is
        told when they come."""
        if self._mesh is None:
            return
        first: dict[str, Workload] = {}
        for workload in self.workloads.values():
            if workload.node is not None:  # it is made in steps when it comes
                continue
            first.setdefault(workload.namespace, workload)
            if len(first) >= _PREPARED:
                break
        for workload in first.values():
            with contextlib.suppress(Exception):
                self._compiler.compile(self._mesh, workload, self._revision)

    def finish(self, now: float) -> None:
        """All connected proxies have theirs."""
        self._finished = now
        self._compiler.published()

    def inspect(self, now: float) -> None:
        """Called about once a second: when nothing was published for a while, forget what nobody uses."""
        if self._finished is not None and now - self._finished > _IDLE_SECONDS:
            self._finished = None
            self._compiler.idle()

    @property
    def revision(self) -> int:
        """That of the mesh in force; -1 before the first."""
        return self._revision

    def get(self, proxy: str) -> XdsSnapshot | None:
        """A connected proxy's latest."""
        return self._current.get(proxy)

    def set(self, proxy: str, snapshot: XdsSnapshot) -> None:
        """What a proxy is offered from now on."""
        self._current[proxy] = snapshot

    def forget(self, proxy: str) -> None:
        """The proxy has left."""
        self._current.pop(proxy, None)
        self._failures.pop(proxy, None)

    def failures(self) -> tuple[Problem, ...]:
        """Builds that fail at present."""
        return tuple(self._failures.values())

    def steps(self, workload: Workload) -> Iterator[None]:
        """Do a little at a time of what `build` would spend long on, for the mesh that is in force at the end. What
        fails is told by `build`."""
        mesh = None
        while mesh is not self._mesh and self._mesh is not None:
            mesh = self._mesh
            with contextlib.suppress(Exception):
                for step in self._compiler.steps(mesh, workload):
                    yield step
                    if mesh is not self._mesh:
                        break

    def build(self, proxy: str, workload: Workload, before: XdsSnapshot | None = None) -> XdsSnapshot | None:
        """Built anew, with the very layers of `before` if they are the same. None if there is no mesh, or it fails."""
        if self._mesh is None:
            return None
        try:
            snapshot = self._compiler.compile(self._mesh, workload, self._revision)
        except Exception as error:
            message = f"the configuration of proxy {proxy} could not be built: {error!r}; it keeps its last one"
            problem = Problem(Severity.ERROR, "build-failed", message, Origin("control plane"))
            if self._failures.get(proxy) != problem:
                self._failures[proxy] = problem
                self._tell(problem)
            return None
        self._failures.pop(proxy, None)
        if before is not None and _same(before, snapshot):
            return XdsSnapshot(snapshot.revision, before.layers, snapshot.problems, snapshot.names)
        return snapshot


def _same(old: XdsSnapshot, new: XdsSnapshot) -> bool:
    return len(old.layers) == len(new.layers) and all(a is b for a, b in zip(old.layers, new.layers, strict=True))
