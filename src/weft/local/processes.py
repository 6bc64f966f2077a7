"""Child processes of `weft up`: each in a session of its own, with a log file, named so that it is found again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.agent.processes import ProcessName, name_of
from weft.local.commands import Launch, interpreter

_TAIL_BYTES = 16_384
_READY_LIMIT = 1 << 20


class Child:
    """One running process. `ready` is set with the JSON line it writes when it is ready, if it was asked for one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = process.pid
        self.identity = name_of(process.pid) or ProcessName(process.pid, "ended")
        self.ready: dict[str, Any] | None = None
        self._process = process
        self._ended = asyncio.get_running_loop().create_task(process.wait(), name=f"wait for {name}")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "still runs"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def wait(self) -> None:
        """Wait until it has ended."""
        await asyncio.shield(self._ended)

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for the process and what it left in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, patience: float, hurry: asyncio.Event) -> None:
        """SIGTERM; SIGKILL after `patience` seconds, or two seconds after `hurry` was set and told with SIGTERM."""
        self.send(signal.SIGTERM)
        if not await self._ends_within(patience, hurry):
            self.send(signal.SIGTERM)
            if not await self._ends_within(2.0, None):
                self.kill()
        await self.wait()

    async def _ends_within(self, seconds: float, hurry: asyncio.Event | None) -> bool:
        waits: list[asyncio.Future[Any]] = [asyncio.shield(self._ended)]
        if hurry is not None:
            waits.append(asyncio.ensure_future(hurry.wait()))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits[1:]:
            wait.cancel()
        return not self.running

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])


async def start_child(launch: Launch, logs: Path, environment: Mapping[str, str], *, tells_ready: bool) -> Child:
    """Start `weft` with the launch's arguments. `environment` is the whole of it, before the launch's own."""
    log = logs / f"{launch.name}.log"
    arguments = list(launch.arguments)
    reading, writing = os.pipe()
    if tells_ready:
        arguments[1:1] = ["--ready-fd", str(writing)]
    try:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *interpreter(),
                *arguments,
                cwd=launch.directory,
                env={**environment, **launch.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(writing,) if tells_ready else (),
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    child = Child(launch.name, process, log)
    if tells_ready:
        _listen(child, reading)
    else:
        os.close(reading)
    return child


def _listen(child: Child, descriptor: int) -> None:
    """Take the JSON line from the pipe when it comes."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    received = bytearray()

    def read() -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        received.extend(data)
        if data and b"\n" not in received and len(received) < _READY_LIMIT:
            return
        loop.remove_reader(descriptor)
        os.close(descriptor)
        with contextlib.suppress(ValueError):
            value = json.loads(bytes(received).partition(b"\n")[0])
            child.ready = value if isinstance(value, dict) else None

    loop.add_reader(descriptor, read)
