"""The file of `weft host`: the workloads of a weft.yaml that share a proxy, read again when it was saved."""

from __future__ import annotations

from pathlib import Path

from weft.local.commands import Launch, run_launch
from weft.local.meshfile import MeshFile, WorkloadEntry, read_meshfile
from weft.local.shared_proxy import check_shared
from weft.settings.home import Home

Stamp = tuple[int, int, int]


class HostFile:
    """The file at `path`, for a host of `home`."""

    def __init__(self, path: Path, home: Home) -> None:
        self.path = path.resolve()
        self._home = home
        self._stamp: Stamp | None = None
        self._launches: tuple[Launch, ...] = ()
        self._said = ""

    def read(self) -> tuple[Launch, ...]:
        """What `weft run` would be asked for each of its workloads; the same object while it was not saved. Raises
        MeshFileError."""
        stamp = _stamp(self.path)
        if stamp is None or stamp != self._stamp:
            mesh = read_meshfile(self.path, check_shared)
            base, bind = self.path.parent, mesh.bind
            self._launches = tuple(run_launch(self._home, each, base, bind) for each in shared_entries(mesh))
            self._stamp, self._said = stamp, ""
        return self._launches

    def is_news(self, text: str) -> bool:
        """Whether this was not said before; it is said now."""
        before, self._said = self._said, text
        return text != before


def shared_entries(mesh: MeshFile) -> tuple[WorkloadEntry, ...]:
    """The workloads that a shared proxy carries."""
    return tuple(each for each in mesh.workloads if each.proxy != "sidecar")


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
