"""LeaseTable: the ends of leases in order of expiry, so that finding those that are over costs what has ended."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


class LeaseTable:
    """When each lease ends (epoch seconds), by key.

    A heap holds one entry per key that is never later than the lease's end: renewing a lease changes the dictionary
    only, and the heap learns of it when the entry comes to the top.
    """

    def __init__(self, ends: Mapping[str, float] | None = None) -> None:
        self.ends: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}
        for key, end in (ends or {}).items():
            self.set(key, end)

    def set(self, key: str, end: float) -> None:
        """Let a lease end at `end`."""
        self.ends[key] = end
        if end < self._queued.get(key, float("inf")):
            self._push(key, end)

    def drop(self, key: str) -> None:
        """Forget a lease."""
        self.ends.pop(key, None)

    def first(self) -> float:
        """When the next lease ends; infinity without leases."""
        while self._queue:
            at, key = self._queue[0]
            end = self.ends.get(key)
            valid = self._queued.get(key) == at
            if valid and end == at:
                return at
            heapq.heappop(self._queue)
            if valid and end is not None:
                self._push(key, end)
            elif valid:
                del self._queued[key]
        return float("inf")

    def over(self, now: float) -> tuple[str, ...]:
        """The keys of leases that have ended by `now`, earliest first. They stay until they are dropped."""
        found = []
        while self.first() <= now and self._queue:
            _, key = heapq.heappop(self._queue)
            del self._queued[key]  # a twin, left by an end that was earlier once, counts no more
            found.append(key)
        for key in found:
            self._push(key, self.ends[key])
        return tuple(found)

    def _push(self, key: str, end: float) -> None:
        self._queued[key] = end
        heapq.heappush(self._queue, (end, key))
