"""`weft up`: start a mesh, stay until Ctrl-C, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence

from weft.local.processes import Spawned
from weft.local.record import HomeTaken, UpRecord, stop_remains
from weft.local.supervisor import STOP_SIGNALS, Plan, Report, StartError, Supervisor, spawn_all
from weft.processes.signals import signals_held

OnReady = Callable[[Supervisor], None]


def run_up(plan: Plan, report: Report, on_ready: OnReady) -> int:
    """Run the mesh until a signal comes; `on_ready` is called once. The exit code: 0, or 1 if it could not start.

    When a mesh is up in this home already, says so, does nothing and returns 0.
    """
    with signals_held(STOP_SIGNALS):  # until there is somebody to handle them
        return _run_in_home(plan, report, on_ready)


def _run_in_home(plan: Plan, report: Report, on_ready: OnReady) -> int:
    record = UpRecord(plan.home)
    try:
        record.take()
    except HomeTaken as taken:
        report(f"{taken}; nothing to do")
        return 0
    spawned: list[Spawned] = []
    try:
        remains = stop_remains(record)
        if remains:
            report(f"ended what an earlier run left behind: {', '.join(remains)}")
        problem = ""
        try:
            for one in spawn_all(plan, record):
                spawned.append(one)
        except StartError as error:
            problem = str(error)
        return asyncio.run(_run(plan, spawned, problem, report, on_ready))
    finally:
        record.release()
        with contextlib.suppress(OSError):  # others of this home may still use it
            plan.home.short_directory.rmdir()


async def _run(plan: Plan, spawned: Sequence[Spawned], problem: str, report: Report, on_ready: OnReady) -> int:
    supervisor = Supervisor(plan, spawned, report)
    stop = asyncio.Event()
    _handle_signals(supervisor, stop, report)
    stopping = asyncio.ensure_future(stop.wait())
    life = asyncio.ensure_future(_live(supervisor, problem, on_ready))
    try:
        await asyncio.wait((life, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        return _failure(life, report)
    finally:
        for task in (life, stopping):
            task.cancel()
        await asyncio.gather(life, stopping, return_exceptions=True)
        report("stopping; press Ctrl-C again to hurry")
        await supervisor.stop()
        _ignore_signals()
        report("stopped")


async def _live(supervisor: Supervisor, problem: str, on_ready: OnReady) -> None:
    if problem:
        raise StartError(problem)
    await supervisor.start()
    on_ready(supervisor)
    await supervisor.watch()


def _failure(life: asyncio.Future[None], report: Report) -> int:
    try:
        life.result()
    except StartError as error:
        report(f"error: {error}")
    return 1


def _handle_signals(supervisor: Supervisor, stop: asyncio.Event, report: Report) -> None:
    def ask() -> None:
        if stop.is_set():
            if not supervisor.hurry.is_set():
                report("hurrying")
            supervisor.hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _ignore_signals() -> None:
    """From now on there is nothing to stop any more, and what is left to do must be done."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
