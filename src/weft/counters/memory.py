"""Counters in the memory of the control plane: the default, for one control plane. They begin anew when it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from weft.counters.counters import Taken, Wanted, taken

MOST = 200_000
"""Keys that are counted at once, some 60 MB. What was taken from longest ago is forgotten for what is new."""


class MemoryCounters:
    """See `Counters`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    async def take(self, wanted: Sequence[Wanted]) -> list[Taken]:
        """One of each, if each has one left, otherwise none."""
        now, counts = self._clock(), self._full_at
        found = [taken(each, now, counts.get(each.key, 0.0), taking=True) for each in wanted]
        if not all(one.allowed for one, _ in found):
            return [taken(each, now, counts.get(each.key, 0.0), taking=False)[0] for each in wanted]
        for each, (_, full_at) in zip(wanted, found, strict=True):
            counts.pop(each.key, None)  # the last one taken from stands last
            counts[each.key] = full_at
        self._forget(now)
        return [one for one, _ in found]

    async def close(self) -> None:
        """Nothing is open."""

    def _forget(self, now: float) -> None:
        """Two of those that were taken from longest ago, if they are full again or there are too many: so the number of
        keys follows that of callers, at a constant price."""
        for _ in range(2):
            oldest = next(iter(self._full_at), None)
            if oldest is None or (self._full_at[oldest] > now and len(self._full_at) <= self._most):
                return
            del self._full_at[oldest]
