"""Freed memory goes back to the system: glibc keeps what a burst needed, unless it is asked."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_PAUSE = 5.0
"""Seconds between two times of giving back at least."""
_BURST = 32 << 20
"""Bytes that were sent since the last time, from which on there is something to give back."""


def system_trim() -> Callable[[], object] | None:
    """glibc's ``malloc_trim(0)`` (see malloc_trim(3)); None where there is no such thing."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    trim.argtypes = [ctypes.c_size_t]
    trim.restype = ctypes.c_int
    return lambda: trim(0)


class Trimmer:
    """Decides when it is worth the time. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sent = 0
        self._last = float("-inf")

    def is_due(self, sent: int, in_flight: int, now: float) -> bool:
        """Whether to give back now: `sent` bytes were sent in all, of which `in_flight` are still on the way."""
        if in_flight or sent - self._sent < _BURST or now - self._last < _PAUSE:
            return False
        self._sent, self._last = sent, now
        return True
