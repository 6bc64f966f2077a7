"""Convergence: how long it takes from a publication until the last proxy that it concerns has answered all of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from weft.discovery.meter import Meter

_AT_ONCE = 16
"""Publications that are waited for; more at once mean that somebody does not answer."""
_LONGEST = 60.0


@dataclass(slots=True)
class _Publication:
    began: float
    remaining: set[str]


class Convergence:
    """Publications that some proxies have not answered yet. Times are monotonic seconds."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._open: list[_Publication] = []

    def published(self, began: float, remaining: Collection[str], now: float) -> None:
        """A publication that began at `began` concerned proxies, of which `remaining` have not answered by `now`."""
        if not remaining:
            self._meter.converged(now - began)
            return
        self._open.append(_Publication(began, set(remaining)))
        if len(self._open) > _AT_ONCE:
            del self._open[0]
            self._meter.given_up()

    def awaits(self, proxy: str) -> bool:
        """Whether a publication waits for this proxy."""
        return any(proxy in one.remaining for one in self._open)

    def settled(self, proxy: str, now: float) -> None:
        """The proxy has answered everything that it was offered, or is gone."""
        for one in self._open:
            one.remaining.discard(proxy)
        done = [one for one in self._open if not one.remaining]
        if done:
            self._open = [one for one in self._open if one.remaining]
            for one in done:
                self._meter.converged(now - one.began)

    def inspect(self, now: float) -> None:
        """Called about once a second: who has not answered for long is not waited for."""
        kept = [one for one in self._open if now - one.began <= _LONGEST]
        for _ in range(len(self._open) - len(kept)):
            self._meter.given_up()
        self._open = kept
