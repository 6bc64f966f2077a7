"""How large a file of a process may become: what writes without end must not fill the disk."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def bounded_files(largest: int) -> Iterator[None]:
    """Processes started in this block cannot make a file larger than `largest` bytes: a write that would is refused,
    if they ignore SIGXFSZ. Ours is as it was afterwards."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = largest if before[0] == resource.RLIM_INFINITY else min(largest, before[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
