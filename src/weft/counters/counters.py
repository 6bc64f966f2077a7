"""What counters do: take one from each of several limits, or nothing from any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class CountersAwayError(Exception):
    """The counters cannot be reached; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of so many `requests` in so many `seconds`, with `burst` at once. `key` says which limit, and whose."""

    key: str
    requests: int
    seconds: int
    burst: int

    @property
    def interval(self) -> float:
        """Seconds until one more comes back."""
        return self.seconds / self.requests


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether there was one left, how many there are now, and in how many seconds all are back (or, if there was none
    left, the next)."""

    allowed: bool
    remaining: int
    reset: float


class Counters(Protocol):
    """Where counts are kept."""

    async def take(self, wanted: Sequence[Wanted]) -> list[Taken]:
        """One of each, if each has one left, otherwise none. Raises CountersAwayError."""

    async def close(self) -> None:
        """Let go of connections."""


def taken(wanted: Wanted, now: float, full_at: float, *, taking: bool) -> tuple[Taken, float]:
    """The generic cell rate algorithm. `full_at` is when all of it is back, by what was taken before; gives what comes
    of one more, and when all is back then (unchanged unless there was one left and it is `taking`).

    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """
    interval = wanted.interval
    begins = max(full_at, now)
    room = wanted.burst * interval - (begins - now)
    allowed = room >= interval * (1 - 1e-9)
    if allowed and taking:
        begins += interval
        room -= interval
    remaining = max(int(room / interval + 1e-6), 0)
    reset = begins - now if allowed else interval - room
    return Taken(allowed, remaining, reset), begins
