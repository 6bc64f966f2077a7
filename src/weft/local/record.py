"""What `weft up` writes down about itself in the home: that it runs, and which processes it started."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.agent.state import stop_leftovers
from weft.local.client import read_endpoints
from weft.processes.name import ProcessName, name_of
from weft.processes.stop import stop_now
from weft.settings.home import Home
from weft.settings.private import make_private_directory, write_atomically


@dataclass(frozen=True, slots=True)
class Started:
    """A process `weft up` started."""

    name: str
    process: ProcessName


class HomeTaken(Exception):  # noqa: N818 - nothing is wrong
    """A mesh is up in this home already; the text says so."""


class UpRecord:
    """The right to be the `weft up` of a home (a lock that ends with the process), and the list of its processes."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._lock = -1

    @property
    def _path(self) -> Path:
        return self.home.root / "up.json"

    def take(self) -> None:
        """Take the home, or raise HomeTaken."""
        make_private_directory(self.home.root)
        descriptor = os.open(self.home.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise HomeTaken(f"a mesh is up in {self.home.root} already (pid {owner or 'unknown'})") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def write(self, processes: Sequence[Started], documents: Sequence[str] = (), trust_domain: str = "") -> None:
        """Record the processes started so far, and the settings of the control plane."""
        listed = [{"name": each.name, "pid": each.process.pid, "began": each.process.began} for each in processes]
        value = {"pid": os.getpid(), "processes": listed, "documents": list(documents), "trustDomain": trust_domain}
        write_atomically(self._path, json.dumps(value, indent=1))

    def control_plane_settings(self) -> tuple[tuple[str, ...], str]:
        """The followed documents and the trust domain of the mesh that is up, for a control plane started again."""
        try:
            value = json.loads(self._path.read_text("utf-8"))
            return tuple(str(path) for path in value["documents"]), str(value["trustDomain"])
        except (OSError, ValueError, KeyError, TypeError):
            return (), ""

    def read(self) -> tuple[Started, ...]:
        """The processes the last `weft up` recorded."""
        try:
            listed = json.loads(self._path.read_text("utf-8"))["processes"]
            return tuple(Started(str(e["name"]), ProcessName(int(e["pid"]), str(e["began"]))) for e in listed)
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def release(self) -> None:
        """Forget everything and give the home back."""
        self._path.unlink(missing_ok=True)
        if self._lock >= 0:
            (self.home.root / "up.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def stop_remains(record: UpRecord, patience: float = 5.0) -> tuple[str, ...]:
    """End what an earlier `weft up` in this home that was killed left running, and name it. Blocks."""
    found = []
    for started in reversed(record.read()):
        if started.process.alive:
            found.append(started.name)
            stop_now(started.process, patience)
    found += [f"{state.name} (its proxy or application)" for state in stop_leftovers(record.home, patience)]
    return tuple(found)


def control_plane_of(home: Home) -> ProcessName | None:
    """The process that says in `home` that it is its control plane, if it still runs."""
    endpoints = read_endpoints(home)
    return name_of(endpoints.pid) if endpoints is not None else None
