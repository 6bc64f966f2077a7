"""Processes the agent looks after: named so that a pid is never confused, watched whether or not they are children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_POLL = 0.1
_LINUX = Path("/proc/self/stat").exists()


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A pid and when its process began (boot and clock ticks on Linux): together they name one process for ever."""

    pid: int
    began: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a dead one waiting to be reaped does not)."""
        return _began(self.pid) == self.began


def name_of(pid: int) -> ProcessName | None:
    """The name of a running process, or None."""
    began = _began(pid)
    return ProcessName(pid, began) if began else None


class ProcessWatch:
    """One running process. `wait` may be awaited by several tasks; `exit_code` is 128+n after signal n and None while
    it runs or when it was not our child, for whose code nobody can ask."""

    def __init__(self, name: ProcessName, started: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self.exit_code: int | None = None
        self._popen = started
        self._ended = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"watch {name.pid}")

    @property
    def running(self) -> bool:
        """Whether it has not been seen to end."""
        return not self._ended.is_set()

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

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """SIGTERM for its group, SIGKILL after `grace` seconds or when `hurry` is set; returns when it has ended."""
        self.send_group(signal.SIGTERM)
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
    command: Sequence[str], cwd: Path | None, environment: Mapping[str, str], output: IO[bytes] | None = None
) -> ProcessWatch:
    """Start `command` in a session of its own, so that a Ctrl-C at the terminal reaches the agent only.

    Standard output and error go to `output`, or stay the agent's own. Raises OSError when it cannot be executed.
    """
    interactive = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    stdin = subprocess.DEVNULL if output is not None or interactive else None
    popen = subprocess.Popen(
        command, cwd=cwd, env=dict(environment), stdin=stdin, stdout=output, stderr=output, start_new_session=True
    )
    name = name_of(popen.pid) or ProcessName(popen.pid, "ended")
    return ProcessWatch(name, popen)


async def wait_first(*events: asyncio.Event | None, timeout: float | None = None) -> bool:
    """Wait until one of the events is set; False when `timeout` seconds pass first."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events if event is not None]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


def stop_now(name: ProcessName, grace: float, *, group: bool = True) -> None:
    """Stop a process (with the group it leads, unless `group` is False) that nobody watches: SIGTERM, SIGKILL after
    `grace` seconds. Blocks."""
    send = os.killpg if group else os.kill
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not name.alive:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(name.pid, number)
        wait_now(name, patience)


def wait_now(name: ProcessName, patience: float) -> None:
    """Wait up to `patience` seconds until a process that nobody watches has ended. Blocks."""
    deadline = time.monotonic() + patience
    while name.alive and time.monotonic() < deadline:
        time.sleep(0.05)


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


def _began(pid: int) -> str:
    """When `pid` began, in words of the system; empty when it is not running."""
    if _LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        fields = text.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = done.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else began.strip()
