"""How many files and connections a process may have open: as many as the system allows, where many are expected."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

WANTED = 65_536
_USUAL = 10_240
"""What macOS takes at most, whatever limit it tells."""


def raise_open_files() -> int:
    """Raise this process's limit as far as it may be, up to `WANTED`; returns the limit then in force.

    Systems give 1,024 at first. A stranger who only connects to a port could use that up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    for limit in (most, min(most, _USUAL)):
        if soft == resource.RLIM_INFINITY or soft >= limit:
            break
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            break
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED if now == resource.RLIM_INFINITY else now


@contextlib.contextmanager
def many_open_files() -> Iterator[None]:
    """Processes started in this block get the raised limit; ours is as it was afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_open_files()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
