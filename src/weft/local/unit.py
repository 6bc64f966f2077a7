"""One process of the mesh, kept as it is wanted: started, started again after a crash, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from weft.aio.cell import Cell
from weft.aio.looks import next_look
from weft.local.commands import Launch
from weft.local.difference import restart_delay
from weft.local.processes import Child, Spawned, spawn
from weft.local.record import Phase, UnitStatus
from weft.local.seats import Seat
from weft.processes.log import end_of_log
from weft.processes.name import ProcessName

Report = Callable[[str], None]

_POLL = 0.05
_LONGEST_POLL = 1.0
_STEADY = 60.0
"""After running this long an end is a new failure, not the old one."""
_SLOW = 10.0
"""After this long without being ready its log may say why: the agent's own warning comes at 5 s."""
_AGENT_PATIENCE = 45.0
_CONTROL_PLANE_PATIENCE = 15.0
_REPLACED_VARIABLE = "http_proxy"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a unit. Each order is a new one: the same again means a restart."""

    launch: Launch
    up: bool = True


@dataclass(frozen=True, slots=True)
class UnitContext:
    """What units share: where logs go, whom to tell, whether all of them stop, and the event that makes that faster."""

    logs: Path
    report: Report
    changed: Callable[[], None]
    hurry: asyncio.Event
    stopping: asyncio.Event


class Unit:
    """`order` says what is wanted, `run` sees to it for ever, `status` says how it is. `first` was started already."""

    def __init__(self, launch: Launch, seat: Seat, context: UnitContext, first: Spawned | None = None) -> None:
        self.seat = seat
        self.wanted = Cell(Wanted(launch))
        self.status = Cell(first_status(launch, first.identity if first else None))
        self._context = context
        self._first = first
        self._failures = 0
        self._outlived = False

    @property
    def launch(self) -> Launch:
        """What it runs, or would run."""
        return self.wanted.value.launch

    def order(self, launch: Launch | None = None, *, up: bool) -> None:
        """Run (`launch`, if given, instead of what ran before; what runs is stopped first), or do not."""
        self._failures = 0
        self.wanted.set(Wanted(launch or self.launch, up))
        self._tell(Phase.STARTING if up and self.status.value.process is None else Phase.STOPPING)

    async def settled(self) -> UnitStatus:
        """Wait until it has come to what it will stay at."""
        while not self.status.value.phase.settled:
            await self.status.changed(self.status.version)
        return self.status.value

    async def run(self) -> None:
        """Do what is wanted, for ever."""
        while True:
            version = self.wanted.version
            delay: float | None = None
            if self.wanted.value.up:
                delay = await self._live(self.launch, version)
            else:
                await self._stop_holder()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self.wanted.changed(version)
            if self.wanted.version == version:
                self._tell(Phase.STARTING, restarts=self.status.value.restarts + 1)

    async def _stop_holder(self) -> None:
        """Stop whoever runs in this seat: the unit's own process has ended by now."""
        holder = await self.seat.holder()
        if holder is not None and holder.pid != os.getpid():
            await self._stop(Child(holder))
        await asyncio.to_thread(self.seat.clear)
        self._tell(Phase.STOPPED, process=None)

    async def _live(self, launch: Launch, version: int) -> float | None:
        """One life of the process; seconds until the next, None for never."""
        began = time.monotonic()
        try:
            child = await self._child(launch)
        except OSError as error:
            return self._crashed(f"cannot be started: {error}", began, log=False)
        slow = False
        while child.running and self.wanted.version == version:
            ready = self.status.value.phase is Phase.RUNNING
            if not ready and await self.seat.ready(child.identity) and self.wanted.version == version:
                self._tell(Phase.RUNNING)
                self._context.report(f"{launch.name}: ready")
            elif not ready and not slow and time.monotonic() - began > _SLOW:
                slow = True
                self._context.report(f"{launch.name}: not ready after {_SLOW:g} s{self._tail(launch.name)}")
            poll = next_look(time.monotonic() - began, _POLL, _LONGEST_POLL)
            await self._wait(child, version, None if ready else poll)
        if self.wanted.version != version:
            self._tell(Phase.STOPPING)
            await self._stop(child)
            return 0.0
        if child.exit_code == 0:
            self._tell(Phase.EXITED, process=None, ending=child.ending)
            self._context.report(f"{launch.name} {child.ending}; it is not started again")
            return None
        return self._crashed(child.ending, began)

    async def _child(self, launch: Launch) -> Child:
        """The process: the first, one that holds the seat already (started by hand), or a new one. Raises OSError."""
        first, self._first = self._first, None
        if first is not None:
            return Child(first.identity)
        holder = await self.seat.holder()
        if holder is not None:
            self._context.report(f"{launch.name}: runs already (pid {holder.pid}); looking after that")
            self._tell(Phase.STARTING, process=holder)
            return Child(holder)
        spawned = spawn(launch, self._context.logs, mesh_environment())
        self._tell(Phase.STARTING, process=spawned.identity)
        spawned.release()
        return Child(spawned.identity)

    async def _wait(self, child: Child, version: int, timeout: float | None) -> None:
        waits = [asyncio.ensure_future(child.ended.wait()), asyncio.ensure_future(self.wanted.changed(version))]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _stop(self, child: Child) -> None:
        patience = _AGENT_PATIENCE if self.launch.kind != "control-plane" else _CONTROL_PLANE_PATIENCE
        await child.stop(patience, self._context.hurry)

    def _tail(self, name: str) -> str:
        """The end of a log, under a line that names it; empty when there is none."""
        log = end_of_log(self._context.logs / f"{name}.log")
        return f"\n--- the end of its log, `weft logs {name}` ---\n{log}" if log else ""

    def _crashed(self, ending: str, began: float, *, log: bool = True) -> float:
        """Say so, with the end of the log if that may tell why, and for how long to wait."""
        outlived = self.seat.outlived()
        again = outlived is self._outlived and time.monotonic() - began <= _STEADY
        self._failures, self._outlived = self._failures + 1 if again else 1, outlived
        delay = restart_delay(self._failures, outlived=outlived)
        self._tell(Phase.CRASHED, process=None, ending=ending)
        name = self.launch.name
        what = f"the agent of {name} {ending}; its proxy and application go on" if outlived else f"{name} {ending}"
        when = f"in {delay:g} s" if delay else "now"
        tail = self._tail(name) if log and self._failures == 1 and not outlived else ""
        if not self._context.stopping.is_set():
            self._context.report(f"{what}; starting it again {when}{tail}")
        return delay

    def _tell(self, phase: Phase, **changes: object) -> None:
        """Change the status."""
        before = self.status.value
        since = time.time() if phase is not before.phase else before.since
        self.status.set(replace(before, phase=phase, since=since, **changes))  # type: ignore[arg-type]
        self._context.changed()


def first_status(launch: Launch, process: ProcessName | None = None) -> UnitStatus:
    """The status of a process that is about to start."""
    return UnitStatus(launch.name, launch.kind, *launch.key, phase=Phase.STARTING, process=process, since=time.time())


def mesh_environment() -> Mapping[str, str]:
    """This environment without the proxy that the sidecar replaces in any case. Others stay, as for `weft run`."""
    return {name: value for name, value in os.environ.items() if name.lower() != _REPLACED_VARIABLE}
