"""`weft clean`: what finished runs have left in a home, and sockets' directories of homes that are gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from weft.agent.state import DirectoryLock, read_state, workload_directories
from weft.local.names import UP_LOG
from weft.local.record import owner_of, read_up
from weft.settings.home import Home, short_root

_STARTING = 60.0
"""Seconds in which the sockets of a directory may be about to be made."""


def clean(home: Home, *, dry_run: bool, certified: bool = False) -> list[Path]:
    """Remove directories and logs of workloads of which nothing runs any more; what was (or with `dry_run` would be)
    removed. Blocks.

    Kept: what belongs to the mesh that is up, and (unless `certified`) directories with a certificate: where the
    control plane is on another host it is what lets the workload join again.
    """
    up = read_up(home) if owner_of(home) is not None else None
    units = up.units if up is not None else ()
    kept = {home.workload(unit.namespace, unit.workload) for unit in units if unit.workload}
    found = [directory for directory in workload_directories(home) if directory not in kept]
    removed = [directory for directory in found if _remove_finished(directory, dry_run, certified)]
    logs = {UP_LOG, *(f"{unit.name}.log" for unit in units)} if up is not None else set()
    stale = [log for log in sorted(home.logs.glob("*.log*")) if log.name.removesuffix(".1") not in logs]
    stale = [] if up is None and owner_of(home) is not None else stale
    for path in stale:
        if not dry_run:
            path.unlink(missing_ok=True)
    return [*removed, *stale, *_dead_socket_directories(dry_run=dry_run)]


def _remove_finished(directory: Path, dry_run: bool, certified: bool) -> bool:
    state = read_state(directory)
    processes = (state.agent, *state.processes) if state is not None else ()
    if any(process is not None and process.alive for process in processes):
        return False
    if not certified and any(directory.glob("certs/**/*.pem")):
        return False
    lock = DirectoryLock(directory)
    if not lock.acquire():
        return False
    try:
        if not dry_run:
            if state is not None and state.hot is not None:
                state.hot.remove(directory)
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        lock.release()
    return True


def _dead_socket_directories(*, dry_run: bool) -> Iterator[Path]:
    """Short directories for sockets (`Home.short_directory`) of this user in which nobody listens."""
    for directory in sorted(short_root().glob(f"weft-{os.getuid()}-*")):
        with contextlib.suppress(FileNotFoundError):  # its user has just removed it
            if not _is_dead(directory):
                continue
            if not dry_run:
                shutil.rmtree(directory, ignore_errors=True)
            yield directory


def _is_dead(directory: Path) -> bool:
    status = directory.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
        return False
    if time.time() - status.st_mtime < _STARTING:
        return False
    return not any(_answers(path) for path in directory.iterdir())


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except BlockingIOError:  # it stands still, or is busy
            return True
        except OSError:
            return False
    return True
