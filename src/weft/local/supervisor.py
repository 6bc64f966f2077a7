"""The processes of one mesh together: brought up, changed by difference, restarted, stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from weft.agent.state import stop_agents, stop_leftovers
from weft.local.client import AdminClient, RefusedError, UnreachableError
from weft.local.commands import Launch, mesh_launches
from weft.local.difference import Difference, difference, refusal
from weft.local.hostfile import shared_entries
from weft.local.mesh_documents import Describe, DocumentsError, apply_documents
from weft.local.meshfile import MeshFile
from weft.local.names import CONTROL_PLANE
from weft.local.processes import Spawned, preload, spawn
from weft.local.record import Phase, UnitStatus, UpRecord, UpState
from weft.local.seats import seat_of
from weft.local.shared_proxy import HOST
from weft.local.unit import Report, Unit, UnitContext, first_status, mesh_environment
from weft.model.workload import WorkloadState
from weft.settings.home import Home
from weft.settings.private import make_private_directory

_POLL = 0.05
_STOP_PATIENCE = 45.0
_ADMIN_SECONDS = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartError(Exception):
    """The mesh could not be brought up as asked. The text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: the mesh, the directory its paths are relative to, where it lives, how long a start may take.

    `file` is the mesh's weft.yaml; None for the demo. With `owns_home` the home ends with the mesh, and so does every
    agent in it, whoever started it.
    """

    mesh: MeshFile
    base: Path
    home: Home
    timeout: float = 60.0
    file: Path | None = None
    owns_home: bool = False

    @property
    def name(self) -> str:
        """Which mesh it is, for people."""
        return str(self.file) if self.file is not None else "the demo"

    def launches(self) -> tuple[Launch, ...]:
        """Its processes."""
        return mesh_launches(self.home, self.mesh, self.base, self.file)

    def carried(self) -> frozenset[tuple[str, str]]:
        """The workloads that share a proxy."""
        shared = shared_entries(self.mesh) if self.mesh.proxy == "shared" else ()
        return frozenset((each.namespace, each.name) for each in shared)

    def up_state(self, units: Sequence[UnitStatus]) -> UpState:
        """What is written down while it is up."""
        documents = tuple(str(self.base / path) for path in self.mesh.documents)
        return UpState(os.getpid(), self.name, documents, self.mesh.trust_domain, self.mesh.bind, tuple(units))


def spawn_all(plan: Plan, record: UpRecord) -> Iterator[Spawned]:
    """Start every process of a Plan, the control plane first, each written down before it is let go.

    To be called before there is any event loop or thread. What cannot be started is left to its Unit, which says why.
    """
    make_private_directory(plan.home.logs)
    statuses: list[UnitStatus] = []
    for launch in plan.launches():
        (plan.home.logs / f"{launch.name}.log").write_bytes(b"")
        if launch.name != CONTROL_PLANE:
            preload()  # while the control plane starts
        try:
            spawned = spawn(launch, plan.home.logs, mesh_environment(), alone=True)
        except OSError:
            continue
        yield spawned
        statuses.append(first_status(launch, spawned.identity))
        record.write(plan.up_state(statuses))
        spawned.release()


class Supervisor:
    """Looks after the processes of a Plan. One task calls it; `hurry` makes a stop that is under way faster, and
    `superseded` says that something else is wanted by now: what is not ready yet is not waited for any longer."""

    def __init__(
        self, plan: Plan, record: UpRecord, report: Report, describe: Describe, group: asyncio.TaskGroup
    ) -> None:
        self.plan = plan
        self.hurry = asyncio.Event()
        self.superseded = asyncio.Event()
        self._stopping = asyncio.Event()
        self.units: dict[str, Unit] = {}
        self.admin = AdminClient(plan.home, timeout=_ADMIN_SECONDS, here=True)
        self._record = record
        self._report = report
        self._describe = describe
        self._context = UnitContext(plan.home.logs, report, self._write, self.hurry, self._stopping)
        self._group = group
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, spawned: Sequence[Spawned]) -> None:
        """Look after every process of the Plan, those `spawned` already and those that could not be."""
        first = {one.launch.name: one for one in spawned}
        for launch in self.plan.launches():
            self._add(launch, first.get(launch.name))

    async def start(self) -> None:
        """Wait for what `begin` started. Raises StartError when there is no control plane or documents are refused;
        what else is not up has been reported, and goes on trying."""
        await self._settle(frozenset({CONTROL_PLANE}), self._deadline())
        if self.units[CONTROL_PLANE].status.value.phase is not Phase.RUNNING:
            raise StartError(f"there is no control plane, see {self.plan.home.logs / CONTROL_PLANE}.log")
        await self._apply()
        await self._reach(frozenset(self.units))

    async def up(self, plan: Plan) -> None:
        """Make the mesh that of `plan`, by the difference. Raises StartError when that is not reached."""
        wanted = plan.launches()
        there = {name: unit.launch for name, unit in self.units.items()}
        if why := refusal(there, wanted):
            raise StartError(why)
        down = [n for n, unit in self.units.items() if unit.status.value.phase not in (Phase.RUNNING, Phase.STARTING)]
        todo = difference(there, down, wanted)
        self.plan = plan
        await self._carry_out(todo)
        await self._settle(todo.waited_for & {CONTROL_PLANE}, self._deadline())
        await self._apply()
        starting = [name for name in todo.keep if self.units[name].status.value.phase is Phase.STARTING]
        await self._reach_all(todo.waited_for, also=starting)

    def check(self) -> None:
        """Raises StartError when one that should be up is not."""
        if failed := self._missing(frozenset(self.units)):
            raise StartError(f"not up: {', '.join(failed)}")

    async def restart(self, names: Sequence[str]) -> None:
        """Stop and start these one after the other, so that others serve meanwhile. Raises StartError."""
        for name in names:
            self.units[name].order(up=True)
            await self._settle(frozenset({name}), self._deadline())
        await self._reach_all(frozenset(names))

    async def halt(self, names: Sequence[str]) -> None:
        """Stop these in order and leave them stopped: gateways first, the control plane last."""
        async for name in self._halted(names):
            self._report(f"{name}: stopped")

    async def stop(self) -> None:
        """Stop everything, and agents of this home that nobody here started."""
        self._stopping.set()
        async for _ in self._halted(list(self.units)):
            pass
        if self.plan.owns_home:
            for state in await asyncio.to_thread(stop_agents, self.plan.home, None, _STOP_PATIENCE):
                self._report(f"stopped {state.name}, which was started by hand")
        await asyncio.to_thread(stop_leftovers, self.plan.home, 1.0)
        for task in self._tasks.values():
            task.cancel()

    async def _halted(self, names: Sequence[str]) -> AsyncIterator[str]:
        for kind in ("gateway", "workload", "host", "control-plane"):
            units = [self.units[name] for name in names if self.units[name].launch.kind == kind]
            for unit in units:
                unit.order(up=False)
            for unit in units:
                await unit.settled()
                yield unit.launch.name

    def _add(self, launch: Launch, first: Spawned | None = None) -> None:
        unit = Unit(launch, seat_of(self.plan.home, launch), self._context, first)
        self.units[launch.name] = unit
        self._tasks[launch.name] = self._group.create_task(unit.run(), name=launch.name)

    async def _carry_out(self, todo: Difference) -> None:
        self._report(str(todo))
        await self.halt(todo.stop)
        for name in todo.stop:
            self._tasks.pop(name).cancel()
            del self.units[name]
        for launch in (*todo.start, *todo.change):
            if launch.name in self.units:
                self.units[launch.name].order(launch, up=True)
            else:
                self._add(launch)
        self._write()

    async def _reach_all(self, names: frozenset[str], *, also: Iterable[str] = ()) -> None:
        """Raises StartError when one of `names` is not up. Wait for the `also`, which began before."""
        await self._reach(names.union(also))
        if failed := self._missing(names):
            raise StartError(f"not up: {', '.join(failed)}")

    async def _reach(self, names: frozenset[str]) -> list[str]:
        """Wait until these are up and every proxy has confirmed; those that are not up."""
        deadline = self._deadline()
        await self._settle(names, deadline, self.superseded)
        if self.units[CONTROL_PLANE].status.value.phase is Phase.RUNNING:
            await self._confirm(deadline)
        return self._missing(names)

    def _missing(self, names: frozenset[str]) -> list[str]:
        statuses = [self.units[name].status.value for name in sorted(names) if name in self.units]
        return [f"{one.name} ({one.phase})" for one in statuses if one.phase is not Phase.RUNNING]

    def _deadline(self) -> float:
        return time.monotonic() + self.plan.timeout

    async def _apply(self) -> None:
        work = partial(apply_documents, self.admin, self.plan.base, self.plan.mesh.apply, self._describe)
        try:
            if await asyncio.to_thread(work):
                self._report("documents: applied")
        except DocumentsError as error:
            raise StartError(str(error)) from error

    async def _settle(self, names: frozenset[str], deadline: float, unless: asyncio.Event | None = None) -> None:
        """Wait until these have come to what they will stay at, `unless` that is set."""
        waits = {name: asyncio.ensure_future(self.units[name].settled()) for name in names}
        ended = asyncio.ensure_future(unless.wait() if unless is not None else asyncio.Event().wait())
        everyone = asyncio.gather(*waits.values())
        left = max(0.0, deadline - time.monotonic())
        first: set[asyncio.Future[Any]] = {everyone, ended}
        await asyncio.wait(first, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        late = ", ".join(sorted(name for name, wait in waits.items() if not wait.done()))
        for wait in (*waits.values(), ended):
            wait.cancel()
        await asyncio.gather(everyone, ended, return_exceptions=True)
        if late:
            why = (
                "not waited for any longer"
                if time.monotonic() < deadline
                else f"not ready after {self.plan.timeout:g} s"
            )
            self._report(f"{why}: {late}; see `weft logs`")

    async def _confirm(self, deadline: float) -> None:
        """Wait until every proxy that runs has confirmed what it was given."""
        while complaint := await asyncio.to_thread(self._unconfirmed):
            if self.superseded.is_set():
                return
            if time.monotonic() > deadline:
                self._report(f"after {self.plan.timeout:g} s: {complaint}")
                return
            await asyncio.sleep(_POLL)
        self._report(f"proxies: {len(self._running())} confirmed their configuration")

    def _running(self) -> set[tuple[str, str]]:
        """The workloads and gateways that run."""
        units = [unit.launch for unit in self.units.values() if unit.status.value.phase is Phase.RUNNING]
        return {launch.key for launch in units if launch.name != CONTROL_PLANE}

    def _unconfirmed(self) -> str:
        """What is missing until every proxy that runs has confirmed a revision in which its workload is healthy."""
        try:
            registered = self.admin.get("workloads")
            proxies = self.admin.get("proxies")["proxies"]
        except (UnreachableError, RefusedError) as error:
            return str(error)
        speaking = self._running()
        expected = speaking | (self.plan.carried() if ("default", HOST) in speaking else frozenset())
        known = [one for one in registered["workloads"] if (one["namespace"], one["name"]) in expected]
        waiting = [one["name"] for one in known if one["state"] != WorkloadState.HEALTHY]
        if waiting:
            return f"not known to be healthy: {', '.join(waiting)}"
        if len(known) < len(expected) or len(proxies) < len(speaking):
            return "not every proxy has connected"
        late = [one["name"] for one in proxies if one["revision_acked"] < registered["revision"]]
        return f"proxies that have not confirmed: {', '.join(late)}" if late else ""

    def _write(self) -> None:
        try:
            self._record.write(self.plan.up_state([unit.status.value for unit in self.units.values()]))
        except OSError as error:  # the mesh goes on; who comes after us may not find all of it
            self._report(f"cannot write down what runs: {error}")


OnReady = Callable[[Supervisor, Mapping[str, Mapping[str, str]]], None]
"""Called with the gateways' URLs: name -> port of the Gateway -> URL."""
