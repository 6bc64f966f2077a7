"""Child processes of `weft up`: each in a session of its own, with a log file, named so that it is found again.

Those that run the same program are forked from this process once it has imported what they need: on a laptop most of
the time a mesh takes to start would otherwise go into importing it again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.local.command_line import interpreter
from weft.local.commands import Launch
from weft.processes.name import ProcessName, name_of
from weft.processes.watch import ProcessWatch, wait_first

CAN_FORK = sys.platform == "linux"
"""Elsewhere the system's own libraries do not survive a fork without exec."""
_PRELOADED = ("weft.cli.run", "weft.cli.agents", "weft.agent.run", "weft.agent.gateway", "weft.agent.bootstrap")
_READY_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that was started; `ready` is the pipe on which it will write a JSON line when it is ready, or -1."""

    launch: Launch
    pid: int
    identity: ProcessName
    log: Path
    ready: int


def spawn(launch: Launch, logs: Path, environment: Mapping[str, str], *, fork: bool, tells_ready: bool) -> Spawned:
    """Start `weft` with the launch's arguments, before there is any event loop or thread. Raises OSError.

    `environment` is the whole of it, before the launch's own. `fork` when the process runs what is imported already.
    """
    log = logs / f"{launch.name}.log"
    environment = {**environment, **launch.environment}
    reading, writing = os.pipe() if tells_ready else (-1, -1)
    arguments = list(launch.arguments)
    if tells_ready:
        arguments[1:1] = ["--ready-fd", str(writing)]
    try:
        with log.open("wb") as output:
            if fork and CAN_FORK:
                pid = _fork(arguments, launch.directory, environment, output.fileno(), writing)
            else:
                popen = subprocess.Popen(
                    [*interpreter(), *arguments],
                    cwd=launch.directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(writing,) if tells_ready else (),
                    preexec_fn=_unblock_signals,  # noqa: PLW1509 - there are no threads yet
                )
                popen.returncode = 0  # looked after by its pid from here on
                pid = popen.pid
    except BaseException:
        if tells_ready:
            os.close(reading)
        raise
    finally:
        if tells_ready:
            os.close(writing)
    return Spawned(launch, pid, name_of(pid) or ProcessName(pid, "ended"), log, reading)


def preload() -> None:
    """Import what `weft run` and `weft gateway` need, for the forks to come."""
    if CAN_FORK:
        for name in _PRELOADED:
            importlib.import_module(name)
        gc.freeze()


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _fork(arguments: list[str], directory: Path, environment: Mapping[str, str], output: int, ready: int) -> int:
    if not directory.is_dir():
        raise NotADirectoryError(f"there is no directory {directory}")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.chdir(directory)
        _arrange_descriptors(output, ready)
        os.environ.clear()
        os.environ.update(environment)
        _unblock_signals()
        sys.argv = ["weft", *arguments]
        sys.orig_argv = [*interpreter(), *arguments]
        code = importlib.import_module("weft.cli.main").run(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _arrange_descriptors(output: int, ready: int) -> None:
    """Standard input empty, standard output and error the log, nothing else open but `ready`."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    keep = max(ready, 2)
    os.closerange(3, keep if ready > 2 else 3)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))


class Child:
    """A spawned process, looked after. `ready` is set with the JSON line it writes when it is ready."""

    def __init__(self, spawned: Spawned) -> None:
        self.launch = spawned.launch
        self.name = spawned.launch.name
        self.log = spawned.log
        self.pid = spawned.pid
        self.identity = spawned.identity
        self.ready: dict[str, Any] | None = None
        self._watch = ProcessWatch(spawned.identity)
        self._ended = asyncio.Event()
        self._waiting = asyncio.ensure_future(self._wait_for_end())
        if spawned.ready >= 0:
            _listen(self, spawned.ready)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._watch.exit_code
        if code is None:
            return "has ended"
        if code > 128:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(code - 128).name}"
        return f"has ended with exit code {code}"

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._ended.wait()

    async def stop(self, patience: float, hurry: asyncio.Event) -> None:
        """SIGTERM; after `patience` seconds, or when `hurry` is set, SIGTERM again; two seconds later SIGKILL."""
        self._watch.send(signal.SIGTERM)
        await wait_first(self._ended, hurry, timeout=patience)
        if self.running:
            self._watch.send(signal.SIGTERM)
            await wait_first(self._ended, timeout=2.0)
        if self.running:
            self._watch.send_group(signal.SIGKILL)
        await self.wait()

    async def _wait_for_end(self) -> None:
        await self._watch.wait()
        self._ended.set()


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
