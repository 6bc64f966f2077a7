"""What one proxy may ask for per second, and have us remember, over all its streams and reconnections."""

from __future__ import annotations

from collections.abc import Collection
from sys import getsizeof

from weft.discovery.limits import Limits

_NAMES_PER_REQUEST = 250
_BYTES_PER_REQUEST = 16 << 10
"""So many names, or bytes, in a request cost as much again as the request."""
_ANSWERED_BYTES_PER_REQUEST = 64 << 10
"""Of an answer, which we asked for: a state-of-the-world client repeats all its names in it."""
_KEPT_PER_REQUEST = 2500
"""So many names that are subscribed already cost as much as a request when some are added or taken away."""
_BYTES_PER_NAME = 150
"""What a name costs beside its own bytes: its places in sets, and a record."""


class Allowance:
    """A bucket of requests that refills, and an account of the bytes of names that are kept. Times are monotonic
    seconds.

    What costs more than there is left is refused and owed: a proxy that comes again too soon has nothing yet.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._left = float(limits.request_burst)
        self._seen = now
        self._kept = 0

    def spend(self, cost: float, now: float) -> bool:
        """Take `cost`, in requests; False when there is not enough left for it."""
        if not cost:
            return True
        self._refill(now)
        self._left = max(self._left - cost, -float(self._limits.request_burst))
        return self._left >= 0

    def has_some(self, now: float) -> bool:
        """Whether a request may come at all."""
        self._refill(now)
        return self._left > 0

    def unused(self, now: float) -> bool:
        """Whether it is full again."""
        self._refill(now)
        return self._left >= self._limits.request_burst and not self._kept

    def keep(self, size: int) -> bool:
        """Take room for names of `size` bytes; False when there is not enough left for them."""
        if self._kept + size > self._limits.kept_bytes:
            return False
        self._kept += size
        return True

    def give_back(self, size: int) -> None:
        """Names of `size` bytes are forgotten."""
        self._kept -= size

    def _refill(self, now: float) -> None:
        earned = (now - self._seen) * self._limits.request_rate
        self._left = min(float(self._limits.request_burst), self._left + earned)
        self._seen = now


def cost_of(size: int, names: int, kept: int, *, answer: bool) -> float:
    """What a request of `size` bytes costs, in requests: it brings `names`, and changes a subscription to `kept`."""
    if answer:
        return max(names / _NAMES_PER_REQUEST, size / _ANSWERED_BYTES_PER_REQUEST)
    return 1 + max(names / _NAMES_PER_REQUEST, size / _BYTES_PER_REQUEST) + kept / _KEPT_PER_REQUEST


def room_of(names: Collection[str]) -> int:
    """The bytes that keeping `names` takes."""
    return sum(map(getsizeof, names)) + _BYTES_PER_NAME * len(names)
