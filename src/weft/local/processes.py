"""Child processes of `weft up`: each in a session of its own, with a log file, named so that it is found again.

At the start of a mesh they are forked from this process: the control plane at once, agents when this process has
imported what they need. On a laptop most of the time a mesh takes to start would otherwise go into importing it again
and again, and what none of them changes they have in common. A process does nothing before it is
released, and ends when that cannot happen any more: so none runs that is not written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weft.local.command_line import interpreter
from weft.local.commands import Launch
from weft.processes.name import ProcessName, name_of
from weft.processes.watch import ProcessWatch, wait_first

CAN_FORK = sys.platform == "linux"
"""Elsewhere the system's own libraries do not survive a fork without exec."""
_PRELOADED = ("weft.cli.run", "weft.cli.agents", "weft.agent.run", "weft.agent.gateway", "weft.agent.bootstrap")
_GATED = 'read -r go && exec "$@" </dev/null'
"""A shell that becomes the program when it is told so, and ends when its standard input does."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that was started and waits for its release; `gate` is where it is given."""

    launch: Launch
    identity: ProcessName
    log: Path
    gate: int

    def release(self) -> None:
        """Let it go on."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.gate, b"go\n")
        os.close(self.gate)


def spawn(launch: Launch, logs: Path, environment: Mapping[str, str], *, alone: bool = False) -> Spawned:
    """Start `weft` with the launch's arguments. Raises OSError.

    `environment` is the whole of it, before the launch's own. `alone` when there is no event loop and no thread yet:
    only then may processes be forked, and signals that are held back here be let through there.
    """
    if not launch.directory.is_dir():
        raise NotADirectoryError(f"there is no directory {launch.directory}")
    log = logs / f"{launch.name}.log"
    inherited = {name: value for name, value in environment.items() if name not in launch.hidden}
    environment = {**inherited, **launch.environment}
    waiting, gate = os.pipe()
    try:
        with log.open("ab") as output:
            if alone and CAN_FORK:
                pid = _fork(launch, environment, output.fileno(), (waiting, gate))
            else:
                pid = _execute(launch, environment, output.fileno(), waiting, _unblock_signals if alone else None)
    except BaseException:
        os.close(gate)
        raise
    finally:
        os.close(waiting)
    return Spawned(launch, name_of(pid) or ProcessName(pid, "ended"), log, gate)


def preload() -> None:
    """Import what `weft run` and `weft gateway` need, for the forks to come."""
    if CAN_FORK:
        for name in _PRELOADED:
            importlib.import_module(name)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(
    launch: Launch,
    environment: Mapping[str, str],
    output: int,
    waiting: int,
    first: Callable[[], None] | None,
) -> int:
    popen = subprocess.Popen(
        ["/bin/sh", "-c", _GATED, "weft", *interpreter(), *launch.arguments],
        cwd=launch.directory,
        env=environment,
        stdin=waiting,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=first,  # noqa: PLW1509 - given only while there are no threads
    )
    popen.returncode = 0  # looked after by its pid from here on
    return popen.pid


def _fork(launch: Launch, environment: Mapping[str, str], output: int, gate: tuple[int, int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection would write to every page that processes have in common
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.close(gate[1])
        if not os.read(gate[0], 1):
            os._exit(code)
        os.chdir(launch.directory)
        _arrange_descriptors(output)
        os.environ.clear()
        os.environ.update(environment)
        _unblock_signals()
        sys.argv = ["weft", *launch.arguments]
        sys.orig_argv = [*interpreter(), *launch.arguments]
        code = importlib.import_module("weft.cli.main").run(launch.arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _arrange_descriptors(output: int) -> None:
    """Standard input empty, standard output and error the log, nothing else open."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


class Child:
    """A process of the mesh, looked after: spawned by us, or found to hold the seat of one."""

    def __init__(self, identity: ProcessName) -> None:
        self.identity = identity
        self.ended = asyncio.Event()
        self._watch = ProcessWatch(identity)
        self._waiting = asyncio.ensure_future(self._wait_for_end())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self.ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """128+n after signal n; None while it runs or when nobody can know."""
        return self._watch.exit_code

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None:
            return "has ended"
        if code > 128:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(code - 128).name}"
        return f"has ended with exit code {code}"

    async def stop(self, patience: float, hurry: asyncio.Event) -> None:
        """SIGTERM; after `patience` seconds, or when `hurry` is set, SIGTERM again; two seconds later SIGKILL."""
        self._watch.send(signal.SIGTERM)
        await wait_first(self.ended, hurry, timeout=patience)
        if self.running:
            self._watch.send(signal.SIGTERM)
            await wait_first(self.ended, timeout=2.0)
        if self.running:
            self._watch.send_group(signal.SIGKILL)
        await self.ended.wait()

    async def _wait_for_end(self) -> None:
        await self._watch.wait()
        self.ended.set()
