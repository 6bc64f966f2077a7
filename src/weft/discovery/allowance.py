"""What one proxy may ask for per second, over all its streams and reconnections."""

from __future__ import annotations

from weft.discovery.limits import Limits

_NAMES_PER_REQUEST = 250
"""So many names in a request cost as much again as the request."""


class Allowance:
    """A bucket of requests that refills. Times are monotonic seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._left = float(limits.request_burst)
        self._seen = now

    def spend(self, requests: int, names: int, now: float) -> bool:
        """Take the cost of `requests` that bring `names` in all; False when there is not enough left for it."""
        cost = requests + names / _NAMES_PER_REQUEST
        if not cost:
            return True
        self._refill(now)
        self._left = max(self._left - cost, -1.0)
        return self._left >= 0

    def unused(self, now: float) -> bool:
        """Whether it is full again."""
        self._refill(now)
        return self._left >= self._limits.request_burst

    def _refill(self, now: float) -> None:
        earned = (now - self._seen) * self._limits.request_rate
        self._left = min(float(self._limits.request_burst), self._left + earned)
        self._seen = now
