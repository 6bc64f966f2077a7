"""Hot restart: what two Envoys share while one takes over listeners from the other, and whether they can.

Follows Envoy's "Hot restart" page. Both have the same base id, which names a small file of shared memory, and sockets
in the workload's directory, which nobody else may enter; the epoch counts how often one has taken over.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from weft.processes.name import ProcessName

_SHARED = Path("/dev/shm")  # noqa: S108 - where shm_open(3) has it
_SOCKETS = "hot-restart"
"""Relative to Envoy's directory: a path of any length would not fit into a socket's address."""
_REQUEST = "restart-envoy"
_BASE_IDS = (1 << 32) // 10 - 1
"""Envoy keeps ten numbers for each."""
_TRIES = 16
_FLAGS_BYTES = 8
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class HotRestart:
    """How an Envoy was started so that another can take over from it."""

    base: int
    epoch: int = 0

    @property
    def next(self) -> HotRestart:
        """How the Envoy that takes over is started."""
        return replace(self, epoch=self.epoch + 1)

    def options(self, drain: int) -> tuple[str, ...]:
        """For the command line; `drain` seconds after it has taken over, the one before has to end."""
        shared = f"--base-id {self.base} --restart-epoch {self.epoch} --socket-path {_SOCKETS} --socket-mode 0600"
        return (*shared.split(), "--parent-shutdown-time-s", str(drain), "--skip-hot-restart-parent-stats")

    @property
    def _memory(self) -> Path:
        return _SHARED / f"envoy_shared_memory_{self.base * 10}"

    @property
    def has_beginner(self) -> bool:
        """Whether an Envoy has been started that has not yet taken over."""
        return any(self._flags())

    def remove(self, directory: Path) -> None:
        """Remove what is shared, when no Envoy of `directory` runs any more."""
        for path in (self._memory, *directory.glob(f"{_SOCKETS}_*")):
            with contextlib.suppress(OSError):
                path.unlink()

    def forget_beginner(self) -> None:
        """After an Envoy has ended that had not yet taken over: the mark that it begins would shut out every other."""
        if any(self._flags()):
            with contextlib.suppress(OSError), self._memory.open("r+b") as file:
                file.seek(-_FLAGS_BYTES, os.SEEK_END)
                file.write(bytes(_FLAGS_BYTES))

    def _flags(self) -> bytes:
        """The last word of the shared memory, whose size is in the first one; empty if it is not so."""
        try:
            found = self._memory.read_bytes()
        except OSError:
            return b""
        return found[-_FLAGS_BYTES:] if int.from_bytes(found[:8], sys.byteorder) == len(found) else b""


def first_of(directory: Path) -> HotRestart | None:
    """For the first Envoy of `directory`: the same base id each time, so that nothing piles up where an end left it.
    None where there can be no hot restart."""
    if sys.platform != "linux" or not os.access(_SHARED, os.W_OK | os.X_OK):
        return None
    for attempt in range(_TRIES):
        name = f"{os.getuid()} {directory.absolute()} {attempt}"
        found = HotRestart(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % _BASE_IDS + 1)
        try:
            if found._memory.lstat().st_uid == os.getuid():
                return found
        except FileNotFoundError:
            return found
    return None


def request_restart(directory: Path) -> None:
    """Ask the agent of `directory`, when it starts the next time, to have another Envoy take over."""
    (directory / _REQUEST).touch(mode=0o600)


def requested(directory: Path) -> bool:
    """Whether someone has asked, and that is not done yet."""
    return (directory / _REQUEST).exists()


def forget_request(directory: Path) -> None:
    """After another one has taken over, or cannot: until then an agent that ends leaves it to the next one."""
    with contextlib.suppress(OSError):
        (directory / _REQUEST).unlink()


def runs_binary(process: ProcessName, binary: Path) -> bool:
    """Whether `process` executes what is in `binary` now, or nobody can tell, as of a script. Reads both when they are
    two files."""
    running = executed_by(process)
    try:
        with binary.open("rb") as file:
            if file.read(2) == b"#!":
                return True
        return running.samefile(binary) or filecmp.cmp(running, binary, shallow=False)
    except OSError:
        return True


def options_of(process: ProcessName) -> tuple[str, ...]:
    """The words with which `process` was started, without the program; empty if nobody can tell."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in words[1:-1])


def why_not(process: ProcessName, binary: Path) -> str:
    """Why `binary` cannot take over from `process`; empty if it can. Blocks for some 0.1 s."""
    running, other = _version(executed_by(process)), _version(binary)
    if running != other or not running:
        return f"its hot restart version is {other or 'not known'}, that of the running one {running or 'not known'}"
    return ""


def check_start(binary: Path, directory: Path, options: tuple[str, ...]) -> str:
    """What Envoy says against the bootstrap in `directory`; empty if nothing. Blocks for some 0.2 s."""
    try:
        done = subprocess.run(
            [binary, *options, "--mode", "validate"],
            cwd=directory,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def executed_by(process: ProcessName) -> Path:
    """What it executes, whether or not that still has a name."""
    return Path(f"/proc/{process.pid}/exe")


def _version(binary: Path) -> str:
    try:
        done = subprocess.run(
            [binary, "--hot-restart-version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""  # Envoy says it on the latter
