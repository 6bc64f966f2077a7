"""How an Envoy is started: with which binary, in which directory, by which command."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from weft.agent.access_logs import STDOUT
from weft.agent.errors import AgentError
from weft.agent.hot_restart import HotRestart
from weft.processes.name import ProcessName
from weft.processes.watch import ProcessWatch, Starting, here, start_orphan, start_process
from weft.settings.file_sizes import bounded_files
from weft.settings.open_files import many_open_files

LARGEST_FILE = 1 << 30
"""Bytes of any file that Envoy writes: where nobody empties them, because the agent is away, it writes no more."""
_FLUSH_MS = 500
"""How long lines about requests stay in Envoy's memory."""
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "TZ")


@dataclass(frozen=True, slots=True)
class EnvoyPlace:
    """Which binary, in which directory (with ``bootstrap.json``), and where its admin socket is. `drain` are the
    seconds that an Envoy has to end after another has taken over. With `aloud` what it says and writes goes to our own
    standard error and output, for whoever collects those of a container."""

    binary: Path
    directory: Path
    admin_socket: Path
    drain: int = 30
    aloud: bool = False

    @property
    def log(self) -> Path:
        """What Envoy says."""
        return self.directory / "envoy.log"

    @property
    def where_it_speaks(self) -> str:
        """Where people find what it says."""
        return "what Envoy says above" if self.aloud else str(self.log)

    @property
    def access_log(self) -> Path:
        """What it writes to its standard output: access logs."""
        return self.directory / STDOUT

    def bootstrap_digest(self) -> str:
        """Of the bootstrap that is there now; empty if none is."""
        try:
            return hashlib.sha256((self.directory / "bootstrap.json").read_bytes()).hexdigest()
        except OSError:
            return ""

    def options(self, workers: int) -> tuple[str, ...]:
        """What every Envoy is started with that has so many worker threads. 0 leaves it to Envoy: one for each core
        that it may use."""
        options = "-c bootstrap.json --drain-time-s 45 --drain-strategy immediate --log-level warn"
        options += f" --file-flush-interval-msec {_FLUSH_MS}"
        options += f" --concurrency {workers}" if workers else ""
        options += " --component-log-level misc:error" if self.aloud else ""  # that messages are work in progress
        return tuple(options.split())

    def command(self, workers: int, hot: HotRestart | None) -> tuple[str, ...]:
        """How it is started."""
        more = hot.options(self.drain) if hot is not None else ("--disable-hot-restart",)
        return (str(self.binary), *self.options(workers), *more)

    def start(
        self, workers: int, hot: HotRestart | None, note: Callable[[ProcessName], None], starting: Starting = here
    ) -> ProcessWatch:
        """Start one. `note` hears its name before it is executed where it would outlive us, so that no Envoy serves of
        which no later agent knows. `starting` is where it begins. AgentError when the binary cannot be executed."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command = self.command(workers, hot)
        with (
            _own(2) if self.aloud else _appending(self.log) as log,
            _own(1) if self.aloud else _appending(self.access_log) as lines,
            many_open_files(),
            bounded_files(LARGEST_FILE),
        ):
            try:
                if hot is None:
                    child = start_process(
                        command,
                        self.directory,
                        environment,
                        lines,
                        errors=log,
                        umask=0o077,
                        ignoring=True,
                        starting=starting,
                    )
                    note(child.name)
                    return child
                where = (command, self.directory, environment, lines, note)
                return start_orphan(*where, errors=log, umask=0o077, starting=starting)
            except OSError as error:
                raise AgentError(f"cannot execute Envoy {self.binary}: {error.strerror}") from error


def _own(descriptor: int) -> IO[bytes]:
    """One of our own streams, once more."""
    return os.fdopen(os.dup(descriptor), "ab")


def _appending(path: Path) -> IO[bytes]:
    """A file of our user's own, to be added to."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
