"""Capabilities of Linux: whether this process has one, and what the threads and programs that it starts lose.

See capabilities(7), prctl(2). All of it is of the calling thread alone.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable
from pathlib import Path

CAP_SYS_ADMIN = 21
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER = 24, 47, 3
_LAST = Path("/proc/sys/kernel/cap_last_cap")
_STATUS = Path("/proc/self/status")


def has_capability(number: int) -> bool:
    """Whether this process may do what the capability of this number is for. On other systems than Linux: never."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return False


def lower_ambient(number: int) -> None:
    """Keep a capability from programs that are not root's, where they would inherit it."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, number)


def keep_only(kept: Iterable[int]) -> None:
    """Keep all capabilities but these from every program that is started from here on, root's too."""
    wanted = frozenset(kept)
    for number in range(int(_LAST.read_text()) + 1):
        if number not in wanted:
            _prctl(_PR_CAPBSET_DROP, number, 0)


def _prctl(option: int, first: int, second: int) -> None:
    """What it refuses was not there to be taken away."""
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0))
