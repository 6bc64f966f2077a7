"""Processes watched in an event loop: started in a session of their own, followed whether or not they are children."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from weft.processes.name import ProcessName, name_of

_POLL = 0.1
Started = subprocess.Popen[bytes]
Starting = Callable[[Callable[[], Started]], Started]
"""How a program is started: by calling what it is given, perhaps in a thread whose rights or namespace are others."""
_ORPHAN = str(Path(__file__).with_name("orphan.py"))


def here(start: Callable[[], Started]) -> Started:
    """As it is: with our rights, in our namespaces."""
    return start()


class ProcessWatch:
    """One running process. `wait` may be awaited by several tasks; `exit_code` is 128+n after signal n and None while
    it runs or when it was not our child, for whose code nobody can ask."""

    def __init__(self, name: ProcessName, started: Started | None = None) -> None:
        self.name = name
        self.exit_code: int | None = None
        self._popen = started
        self._ended = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"watch {name.pid}")

    @property
    def running(self) -> bool:
        """Whether it has not been seen to end."""
        return not self._ended.is_set()

    @property
    def ended(self) -> asyncio.Event:
        """Set when it has been seen to end."""
        return self._ended

    async def wait(self) -> int | None:
        """Wait for its end; returns `exit_code`."""
        await self._ended.wait()
        return self.exit_code

    def forget(self) -> None:
        """Stop watching and let the process run on."""
        self._task.cancel()
        if self._popen is not None:
            self._popen.returncode = 0  # it outlives this object on purpose

    def send(self, number: int) -> None:
        """Send a signal to the process."""
        if self.running and self.name.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.name.pid, number)

    def send_group(self, number: int) -> None:
        """Send a signal to its process group, which it leads."""
        if self.running and self.name.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.name.pid, number)

    def stopped_by(self) -> int:
        """The signal that has stopped it since the last call, 0 if none has. Known of children only."""
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, self.name.pid, os.WSTOPPED | os.WNOHANG)
            return found.si_status if found is not None else 0
        return 0

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """SIGTERM for its group, SIGKILL after `grace` seconds or when `hurry` is set; returns when it has ended."""
        self.send_group(signal.SIGTERM)
        self.send_group(signal.SIGCONT)  # one that stands still hears nothing
        await wait_first(self._ended, hurry, timeout=grace)
        if self.running:
            self.send_group(signal.SIGKILL)
            await self._ended.wait()

    async def _watch(self) -> None:
        try:
            await _wait_for_exit(self.name)
        finally:
            if not self.name.alive:
                self._reap()
                self._ended.set()

    def _reap(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.name.pid, signal.SIGKILL)  # what it left in its group
        try:
            _, status = os.waitpid(self.name.pid, os.WNOHANG)
        except ChildProcessError:
            return
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = 128 - code if code < 0 else code
        if self._popen is not None:
            self._popen.returncode = code


def start_process(
    command: Sequence[str],
    cwd: Path | None,
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    *,
    errors: IO[bytes] | None = None,
    terminal: bool = False,
    ignoring: bool = False,
    umask: int = -1,
    starting: Starting = here,
) -> ProcessWatch:
    """Start `command` in a session of its own, so that a Ctrl-C at the terminal reaches us only.

    Standard output and error go to `output` (the latter to `errors`, if that is given), or stay our own. Standard input
    stays, too, but for a terminal: it is empty then. With `terminal` it keeps that, in our session and a process group
    of its own; see `weft.processes.terminal`. With `ignoring` it ignores SIGPIPE and SIGXFSZ, as we do. Files it makes
    have the modes that `umask` leaves (-1: ours). Raises OSError when it cannot be executed, and what `starting` does.
    """
    interactive = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    stdin = subprocess.DEVNULL if output is not None or (interactive and not terminal) else None

    def start() -> Started:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=stdin,
            stdout=output,
            stderr=output if errors is None else errors,
            umask=umask,
            start_new_session=not terminal,
            process_group=0 if terminal else None,
            restore_signals=not ignoring,
        )

    popen = starting(start)
    name = name_of(popen.pid) or ProcessName(popen.pid, "ended")
    return ProcessWatch(name, popen)


def start_orphan(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    output: IO[bytes],
    note: Callable[[ProcessName], None],
    *,
    errors: IO[bytes],
    umask: int = -1,
    starting: Starting = here,
) -> ProcessWatch:
    """Start `command` as `start_process` does, in a session of its own and with SIGPIPE and SIGXFSZ ignored, but as
    nobody's child: for programs that end with their parent (prctl(2), PR_SET_PDEATHSIG) and shall not. `note` hears its
    name before it is executed, which it is not if we end before `note` has returned. Nobody learns its exit code.
    Blocks for some 15 ms. Raises OSError when it cannot be executed."""
    reading, writing = os.pipe()
    awaited, go = os.pipe()

    def start() -> Started:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _ORPHAN, str(writing), str(awaited), *command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            umask=umask,
            start_new_session=True,
            restore_signals=False,
            pass_fds=(writing, awaited),
        )

    try:
        with starting(start):
            os.close(writing)
            writing = -1
            with os.fdopen(reading, "rb", closefd=False) as told:
                pid = int(told.readline() or 0)
                if not pid:
                    raise OSError(errno.ECHILD, os.strerror(errno.ECHILD), command[0])
                name = name_of(pid) or ProcessName(pid, "ended")
                note(name)
                os.write(go, b"!")
                if failed := told.read():
                    raise OSError(int(failed), os.strerror(int(failed)), command[0])
    finally:
        for descriptor in (reading, awaited, go, *((writing,) if writing >= 0 else ())):
            os.close(descriptor)
    return ProcessWatch(name)


async def wait_first(*events: asyncio.Event | None, timeout: float | None = None) -> bool:
    """Wait until one of the events is set; False when `timeout` seconds pass first."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events if event is not None]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


async def _wait_for_exit(name: ProcessName) -> None:
    if not hasattr(os, "pidfd_open"):
        while name.alive:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(_POLL)
        return
    try:
        descriptor = os.pidfd_open(name.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        if not name.alive:
            return
        loop.add_reader(descriptor, readable.set)
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
