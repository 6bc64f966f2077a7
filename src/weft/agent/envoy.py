"""Envoy as a process: started in the workload's directory, watched, restarted with back-off, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import IO

from weft.agent.access_logs import STDOUT
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.errors import AgentError
from weft.agent.last_words import advice, last_words
from weft.aio.cell import Cell
from weft.model.workload import SocketAddress
from weft.processes.log import limit_log
from weft.processes.name import ProcessName
from weft.processes.watch import ProcessWatch, start_process
from weft.settings.file_sizes import bounded_files
from weft.settings.open_files import many_open_files

_LOG = logging.getLogger(__name__)
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_STEADY = 60.0
"""After running this long an exit is a new failure, not the old one."""
_POLL = 0.05
_PATIENCE = 3.0
_LOG_CHECK = 30.0
LARGEST_FILE = 1 << 30
"""Bytes of any file that Envoy writes: where nobody empties them, because the agent is away, it writes no more."""
_FLUSH_MS = 500
"""How long lines about requests stay in Envoy's memory."""
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "TZ")


class NotReadyError(AgentError):
    """Envoy runs, but does not serve yet."""


@dataclass(frozen=True, slots=True)
class EnvoyPlace:
    """Which binary, in which directory (with ``bootstrap.json``), and where its admin socket is."""

    binary: Path
    directory: Path
    admin_socket: Path

    @property
    def log(self) -> Path:
        """What Envoy says."""
        return self.directory / "envoy.log"

    @property
    def access_log(self) -> Path:
        """What it writes to its standard output: access logs."""
        return self.directory / STDOUT

    def command(self, workers: int) -> tuple[str, ...]:
        """How it is started, with so many worker threads. 0 leaves it to Envoy: one for each core that it may use."""
        options = "--drain-time-s 45 --drain-strategy immediate --disable-hot-restart --log-level warn"
        options += f" --file-flush-interval-msec {_FLUSH_MS}"
        options += f" --concurrency {workers}" if workers else ""
        return (str(self.binary), "-c", "bootstrap.json", *options.split())


class Envoy:
    """One Envoy. `ready`: whether it runs with its first configuration; `started` is called with each new process,
    which has as many worker threads as `workers` then says."""

    def __init__(
        self, place: EnvoyPlace, started: Callable[[ProcessName | None], None], workers: Callable[[], int]
    ) -> None:
        self.place = place
        self.admin = EnvoyAdmin(place.admin_socket)
        self.ready = Cell(False)
        self._started = started
        self._workers = workers
        self._process: ProcessWatch | None = None
        self._stopping = False

    @property
    def process(self) -> ProcessWatch | None:
        """The running process."""
        return self._process

    def adopt(self, name: ProcessName) -> None:
        """Look after an Envoy that another agent started."""
        self._process = ProcessWatch(name)
        self.ready.set(True)

    def start(self) -> None:
        """Start a new process. Raises AgentError when the binary cannot be executed."""
        self.place.admin_socket.unlink(missing_ok=True)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command, directory = self.place.command(self._workers()), self.place.directory
        with (
            _appending(self.place.log) as log,
            _appending(self.place.access_log) as lines,
            many_open_files(),
            bounded_files(LARGEST_FILE),
        ):
            try:
                self._process = start_process(
                    command, directory, environment, lines, errors=log, umask=0o077, ignoring=True
                )
            except OSError as error:
                raise AgentError(f"cannot execute Envoy {self.place.binary}: {error.strerror}") from error
        self._started(self._process.name)

    async def wait_ready(
        self,
        listeners: tuple[SocketAddress, ...],
        timeout: float,
        say: Callable[[SocketAddress], str] = str,
    ) -> None:
        """Wait until Envoy serves, listening on all of `listeners`, which `say` names for people.

        Raises AgentError with the end of its log when it ends first, NotReadyError with what is missing after
        `timeout` seconds.
        """
        process = self._process
        missing: tuple[str, ...] = ()
        patience = asyncio.get_running_loop().time() + _PATIENCE
        try:
            async with asyncio.timeout(timeout):
                while process is not None and process.running:
                    if await self.admin.ready():
                        found = await self.admin.listeners()
                        missing = tuple(say(one) for one in listeners if one not in found)
                        if not missing:
                            self.ready.set(True)
                            return
                    if missing and asyncio.get_running_loop().time() > patience:
                        patience = inf
                        _LOG.info("waiting for Envoy to listen on %s", ", ".join(missing))
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            wanted = f"it does not listen on {', '.join(missing)}" if missing else "it has no configuration yet"
            raise NotReadyError(
                f"Envoy was not ready after {timeout:g} s: {wanted}; see `weft proxy status` and {self.place.log}"
            ) from error
        raise AgentError(f"Envoy ended while it started{self._how_it_ended()}")

    async def run(self, listeners: tuple[SocketAddress, ...], timeout: float) -> None:
        """Watch Envoy and start it again whenever it ends, later each time, for ever."""
        clock = asyncio.get_running_loop().time
        delay = _FIRST_DELAY
        while True:
            since = clock()
            if self._process is not None:
                await self._process.wait()
            if self._stopping:
                return
            self.ready.set(False)
            self._started(None)
            if clock() - since > _STEADY:
                delay = _FIRST_DELAY
            _LOG.warning("Envoy ended; starting it again in %.1f s%s", delay, self._how_it_ended())
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            try:
                self.start()
                await self._wait_long(listeners, timeout)
                _LOG.info("Envoy is back")
            except AgentError as error:
                _LOG.warning("%s", error)

    async def _wait_long(self, listeners: tuple[SocketAddress, ...], timeout: float) -> None:
        """Wait until Envoy is ready or ends, and complain meanwhile: a control plane may be away for long."""
        while True:
            try:
                await self.wait_ready(listeners, timeout)
            except NotReadyError as error:
                _LOG.warning("%s", error)
            else:
                return

    async def run_log_limit(self) -> None:
        """Keep Envoy's log from filling the disk, for ever."""
        while True:
            limit_log(self.place.log)
            limit_log(self.place.access_log)
            await asyncio.sleep(_LOG_CHECK)

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Stop it and remove its socket."""
        self._stopping = True
        if self._process is not None:
            await self._process.stop(grace, hurry)
        self._started(None)
        self.place.admin_socket.unlink(missing_ok=True)

    async def leave(self) -> None:
        """Let it run on without us."""
        self._stopping = True
        if self._process is not None:
            self._process.forget()

    def _how_it_ended(self) -> str:
        code = self._process.exit_code if self._process else None
        text = f" (exit code {code})" if code is not None else ""
        words = last_words(self.place.log)
        text += advice(words)
        return f"{text}; the end of {self.place.log}:\n{textwrap.indent(words, '    ')}" if words else text


def _appending(path: Path) -> IO[bytes]:
    """A file of our user's own, to be added to."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
