"""Pace: how often each may come, so that nobody takes the turns of all."""

from __future__ import annotations

_MOST = 32_768


class Pace:
    """Each may come `at_once` times, and once more after every `seconds`. `now` is any clock that only goes forward."""

    def __init__(self, at_once: int, seconds: float) -> None:
        self._at_once = at_once
        self._seconds = seconds
        self._paid: dict[str, float] = {}  # who, and until when what came is paid for

    def allows(self, who: str, now: float) -> bool:
        """Whether `who` may come now, which then counts."""
        paid = max(now, self._paid.pop(who, now))
        may = paid - now <= self._seconds * (self._at_once - 1)
        self._paid[who] = paid + self._seconds if may else paid
        while len(self._paid) > _MOST:
            del self._paid[next(iter(self._paid))]
        return may
