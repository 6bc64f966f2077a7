"""One control plane per home: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from weft.controlplane.settings import ServeError
from weft.settings.home import Home
from weft.settings.private import PermissionsError, make_private_directory


@contextlib.contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the home's lock; ServeError if another control plane holds it."""
    try:
        make_private_directory(home.root)
        make_private_directory(home.control_plane)
        descriptor = os.open(home.control_plane / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionsError as error:
        raise ServeError(f"cannot use the home {home.root}: {error}") from error
    except OSError as error:
        raise ServeError(f"cannot use the home {home.root}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise ServeError(f"a control plane (pid {holder}) is already running in {home.root}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
