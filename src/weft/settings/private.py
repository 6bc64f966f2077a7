"""Private directories and files: made with safe modes, checked on start, written so that a crash leaves old or new."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

_TEMPORARY = ".new-"


class PermissionsError(Exception):
    """A private file or directory can be read or changed by others; the message says how to correct it."""


def make_private_directory(path: Path) -> None:
    """Make `path` (and what is missing above it) with mode 0700, or check that it has it already."""
    for missing in reversed([parent for parent in path.parents if not parent.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    check_private(path)


def check_private(path: Path) -> None:
    """Raise PermissionsError unless `path` belongs to this user and nobody else may read or write it."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionsError(f"{path} is a symbolic link; weft keeps secrets there and wants the real thing")
    if status.st_uid != os.geteuid():
        raise PermissionsError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()} who runs weft")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        wanted = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise PermissionsError(f"{path} is open to other users (mode {mode:04o}); run: chmod {wanted} '{path}'")


def write_atomically(path: Path, data: str | bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace `path` by `data`: after a crash at any point it holds the old content or the new, whole. Where it is not
    `durable`, that may be the old one even after this has returned, if the machine itself fails soon."""
    temporary = path.with_name(f".{path.name}{_TEMPORARY}{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(directory: Path) -> None:
    """Remove what a crash inside `write_atomically` left in `directory`. Only for a directory with one owner."""
    for path in directory.glob(f".*{_TEMPORARY}*"):
        path.unlink(missing_ok=True)
