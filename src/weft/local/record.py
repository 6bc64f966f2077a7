"""What `weft up` writes down about itself in the home: that it runs, of which file, and how its processes are."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.agent.state import stop_leftovers
from weft.local.client import read_endpoints
from weft.processes.name import ProcessName, name_of
from weft.processes.stop import stop_now
from weft.settings.home import Home
from weft.settings.private import make_private_directory, write_atomically


class Phase(enum.StrEnum):
    """Where a process of the mesh is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    CRASHED = "crashed"
    EXITED = "exited"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def settled(self) -> bool:
        """Whether it stays so without anything being done."""
        return self not in (Phase.STARTING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """One process of the mesh. `since` is when the phase began (Unix seconds), `ending` how the process last ended."""

    name: str
    kind: str
    namespace: str
    workload: str
    phase: Phase
    process: ProcessName | None = None
    restarts: int = 0
    ending: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class UpState:
    """The content of ``up.json``. `mesh` says which mesh it is: the path of its weft.yaml, or `the demo`."""

    pid: int
    mesh: str
    documents: tuple[str, ...] = ()
    trust_domain: str = ""
    bind: str = ""
    units: tuple[UnitStatus, ...] = ()


class HomeTaken(Exception):  # noqa: N818 - nothing is wrong
    """A mesh is up in this home already."""


def read_up(home: Home) -> UpState | None:
    """What the last `weft up` of `home` wrote; None when there is none, or it ended in order."""
    try:
        return msgspec.json.decode((home.root / "up.json").read_bytes(), type=UpState)
    except (OSError, msgspec.DecodeError):
        return None


class UpRecord:
    """The right to be the `weft up` of a home (a lock that ends with the process), and what it writes down."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._lock = -1

    @property
    def _path(self) -> Path:
        return self.home.root / "up.json"

    def take(self) -> None:
        """Take the home, or raise HomeTaken."""
        make_private_directory(self.home.root)
        while (descriptor := _locked(self.home.root / "up.lock")) < 0:
            pass
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(name_of(os.getpid())), 0)
        self._lock = descriptor

    def write(self, state: UpState) -> None:
        """Replace what is written down."""
        write_atomically(self._path, msgspec.json.format(msgspec.json.encode(state)))

    def release(self) -> None:
        """Forget everything and give the home back."""
        self._path.unlink(missing_ok=True)
        if self._lock >= 0:
            (self.home.root / "up.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of `path`; -1 if who held it has just removed the file. Raises HomeTaken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise HomeTaken from None
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    os.close(descriptor)
    return -1


def owner_of(home: Home) -> ProcessName | None:
    """The `weft up` that holds `home`, if one runs."""
    try:
        owner = msgspec.json.decode((home.root / "up.lock").read_bytes(), type=ProcessName)
    except (OSError, msgspec.DecodeError):
        return None
    return owner if owner.alive else None


def control_plane_settings(home: Home) -> tuple[tuple[str, ...], str, str]:
    """The followed documents, trust domain and address of the mesh that is up, for a control plane started by hand;
    empty without one."""
    state = read_up(home)
    return (state.documents, state.trust_domain, state.bind) if state else ((), "", "")


def stop_remains(record: UpRecord, patience: float = 5.0) -> tuple[str, ...]:
    """End what an earlier `weft up` in this home that was killed left running, and name it. Blocks."""
    before = read_up(record.home)
    found = []
    for name, process in reversed(list(_processes(before.units if before else ()))):
        if process.alive:
            found.append(name)
            stop_now(process, patience)
    found += [f"{state.name} (its proxy or application)" for state in stop_leftovers(record.home, patience)]
    return tuple(found)


def _processes(units: Iterable[UnitStatus]) -> Iterable[tuple[str, ProcessName]]:
    return ((unit.name, unit.process) for unit in units if unit.process is not None)


def control_plane_of(home: Home) -> ProcessName | None:
    """The process that says in `home` that it is its control plane, if it still runs."""
    endpoints = read_endpoints(home)
    return name_of(endpoints.pid) if endpoints is not None else None
