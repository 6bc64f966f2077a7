"""Failed proofs, counted by who shows them: who keeps guessing is answered slowly, then told to wait. Pure.

Who shows what is right is never held up: that is looked at first. On loopback all callers are one, since their users
cannot be told apart there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

BURST = 10.0
"""Failures at once that are answered as such."""
REFILL_SECONDS = 6.0
"""After each of these one more is."""
_FREE = 3.0
_STEP_SECONDS = 0.2
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure gets: an answer after `delay` seconds, or (`retry_after` seconds, 0: not) to come back later;
    `first` is the first of a burst that is sent away."""

    delay: float = 0.0
    retry_after: int = 0
    first: bool = False


@dataclass(slots=True)
class _Caller:
    left: float
    at: float
    told: bool = False


class Failures:
    """Bounded: of more callers than `_MOST` the one that failed longest ago is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def failed(self, caller: str) -> Verdict:
        """`caller` has shown what is wrong."""
        now = self._clock()
        known = self._callers.pop(caller, None) or _Caller(BURST, now)
        known.left = min(BURST, known.left + (now - known.at) / REFILL_SECONDS)
        known.at = now
        self._callers[caller] = known
        while len(self._callers) > _MOST:
            self._callers.popitem(last=False)
        if known.left < 1.0:
            first, known.told = not known.told, True
            return Verdict(retry_after=max(1, round((1.0 - known.left) * REFILL_SECONDS + 0.5)), first=first)
        known.left -= 1.0
        known.told = known.told and known.left < BURST / 2
        return Verdict(delay=max(0.0, BURST - _FREE - known.left) * _STEP_SECONDS)
