"""The file of `weft host`: the workloads of a weft.yaml that share a proxy, read again when it was saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weft.local.commands import Launch, run_launch
from weft.local.meshfile import MeshFile, WorkloadEntry, meshfile_lines, read_meshfile
from weft.local.shared_proxy import check_host
from weft.settings.home import Home

Stamp = tuple[int, int, int]
_FIELD = "networkNamespace"


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
            mesh = read_meshfile(self.path, check_host)
            self._launches = self._all(mesh)
            self._stamp, self._said = stamp, ""
        return self._launches

    def _all(self, mesh: MeshFile) -> tuple[Launch, ...]:
        """Each with the line that says in which network namespace it is."""
        base, bind = self.path.parent, mesh.bind
        launches = tuple(run_launch(self._home, each, base, bind) for each in shared_entries(mesh))
        if not any(each.network_namespace for each in launches):
            return launches
        lines = meshfile_lines(self.path.read_text("utf-8"), str(self.path))
        places = {
            (each.namespace, each.name): f"{lines.origin('workloads', index, _FIELD)}: workloads[{index}].{_FIELD}"
            for index, each in enumerate(mesh.workloads)
            if each.network_namespace
        }
        return tuple(replace(each, place=places.get(each.key, "")) for each in launches)

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
