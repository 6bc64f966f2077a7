"""The build loop: every new ConfigSnapshot becomes a Mesh and is handed to the hub."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from weft.admin.context import INTERNAL, Compiled
from weft.admin.history.recorder import Recorder
from weft.admin.replicas.steps import Steps
from weft.aio.cell import Cell
from weft.controlplane.changeover import Changeover
from weft.controlplane.instruments import Instruments
from weft.controlplane.modes import Modes
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.differences import patched_table
from weft.mesh.idle import NO_SELECTOR
from weft.mesh.model import Mesh
from weft.mesh.steps import NO_STEP
from weft.model.document import Document
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity, distinct
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.sources.collector import Collector
from weft.sources.kubernetes.documents import PREFIX

_log = logging.getLogger("weft.builds")
_MOST_TOLD = 20


def _is_backed_elsewhere(problem: Problem) -> bool:
    """Whether it is about a Service of a cluster without a selector: an EndpointSlice may say what is behind it."""
    return problem.code == NO_SELECTOR and problem.origin.source.startswith(PREFIX)


class Builds:
    """Owns the current Mesh. What cannot be built leaves the last Mesh in force and a Problem."""

    def __init__(
        self,
        collector: Collector,
        hub: Hub[Mesh],
        compiler: MeshCompiler,
        modes: Modes,
        clock: Callable[[], float] = time.time,
        recorder: Recorder | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._recorder = recorder
        self._collector = collector
        self._clock = clock
        self._instruments = instruments or Instruments()
        self._hub = hub
        self._compiler = compiler
        self.compiled: Cell[Compiled] = Cell(Compiled(0, None))
        self.workloads: Mapping[str, Workload] = {}
        self._registered: tuple[Workload, ...] = ()
        self._told: frozenset[Problem] = frozenset()
        self._in_force: tuple[Document[object], ...] | None = None
        self._modes = modes
        self._changeover = Changeover(collector, hub, compiler, modes, self._publish)

    def together(self, steps: Steps) -> None:
        """Take the steps of changes together with other replicas."""
        self._changeover.steps = steps

    async def run(self) -> None:
        """Build and publish for ever."""
        collected = self._collector.collected
        version = 0
        while True:
            version = await self._changed(version)
            taken = collected.value
            snapshot = taken.snapshot
            if self._recorder is not None:
                self._recorder.begin(snapshot.documents)
            if snapshot.revision > self.compiled.value.revision:
                await self._build(snapshot)
            if self._recorder is not None:
                self._recorder.published(snapshot.documents, snapshot.revision, taken.store_revision)

    async def _changed(self, version: int) -> int:
        """Wait for another snapshot than that of `version`. What an earlier change has left to be told ends in time."""
        while True:
            try:
                async with asyncio.timeout(self._changeover.lingers()):
                    return await self._collector.collected.changed(version)
            except TimeoutError:
                self._changeover.end()
                await self._build(self._collector.collected.value.snapshot)

    async def _build(self, snapshot: ConfigSnapshot) -> None:
        start = time.perf_counter()
        last = self.compiled.value
        try:
            before = self._modes.before(snapshot.documents) if self._in_force is None else self._in_force
            workloads = await self._changeover.run(before, snapshot, last.revision)
            snapshot = replace(snapshot, workloads=workloads)
            mesh = self._compiler.build(snapshot)
            problems = distinct(one for one in mesh.problems if not _is_backed_elsewhere(one))
            told = mesh if self._changeover.last is NO_STEP else self._compiler.build(snapshot, self._changeover.last)
            await self._publish(told, snapshot.workloads, snapshot.revision)
        except Exception as error:  # whatever the compiler trips over: the last good mesh stays in force
            _log.exception("revision %d cannot be built", snapshot.revision)
            self._instruments.failed_builds.add()
            await self._keep_last(snapshot, error)
            return
        self._in_force = snapshot.documents
        took = time.perf_counter() - start
        self._instruments.builds.observe(took)
        _log.debug("revision %d built in %.1f ms", snapshot.revision, took * 1000)
        self._tell((*snapshot.problems, *problems))
        made_of = (snapshot.documents, snapshot.workloads)
        self.compiled.set(Compiled(snapshot.revision, mesh, problems, took, self._idle(last, mesh), *made_of))

    def _idle(self, last: Compiled, mesh: Mesh) -> Mapping[Problem, float]:
        """What waits for a workload, and since when."""
        if last.mesh is not None and last.mesh.idle is mesh.idle:
            return last.idle
        now = self._clock()
        return {problem: last.idle.get(problem, now) for problem in mesh.idle}

    async def _keep_last(self, snapshot: ConfigSnapshot, error: Exception) -> None:
        """The last good mesh stays in force, with the workloads of now."""
        last = self.compiled.value
        if last.mesh is not None:
            try:
                await self._publish(last.mesh, snapshot.workloads, snapshot.revision)
                if self._modes.halfway and self._in_force is not None:  # of a change that begins anew next time
                    await self._modes.keep(self._in_force)
            except Exception:  # proxies keep what they have
                _log.exception("revision %d cannot be published", snapshot.revision)
        problems = tuple(dict.fromkeys((*last.problems, _internal(error))))
        self.compiled.set(replace(last, revision=snapshot.revision, problems=problems))

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        """Log errors that are new, for who has just saved a followed file."""
        errors = frozenset(problem for problem in problems if problem.severity is Severity.ERROR)
        new = sorted(str(problem) for problem in errors - self._told)
        for text in new[:_MOST_TOLD]:
            _log.warning("%s", text)
        if len(new) > _MOST_TOLD:
            _log.warning("and %d more; see `weft problems`", len(new) - _MOST_TOLD)
        self._told = errors

    async def _publish(self, mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        if workloads is not self._registered:
            self.workloads = patched_table((self._registered, self.workloads), workloads, _by_proxy)
            self._registered = workloads
        await self._hub.publish(mesh, self.workloads, revision)
        if self.compiled.version == 0:  # there is something to serve; a first step waits for the proxies to come back
            self.compiled.set(Compiled(0, mesh))


def _by_proxy(workload: Workload) -> tuple[tuple[str, Workload]]:
    return ((workload.proxy, workload),)


def _internal(error: Exception) -> Problem:
    text = (
        f"the configuration cannot be compiled ({type(error).__name__}, see the log); the last good one stays in force"
    )
    return Problem(Severity.ERROR, INTERNAL, text, Origin("weft"), expected="nothing of you: please report this")
