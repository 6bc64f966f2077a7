"""What the relay waits for: descriptors that become ready (epoll), and moments."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

Ready = Callable[[int], None]


class Readiness:
    """Calls whoever watches a descriptor, with the events of epoll, and whoever waits for a moment."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, tuple[int, Ready]] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` on `events`, and on the end of a connection; with 0 not at all any more."""
        known = self._watched.get(descriptor)
        if known is None:
            if events:
                self._watched[descriptor] = (events, ready)
                self._poll.register(descriptor, events)
        elif not events:
            del self._watched[descriptor]
            self._poll.unregister(descriptor)
        elif known[0] != events:
            self._watched[descriptor] = (events, ready)
            self._poll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Before it is closed."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` once, after so many seconds."""
        self._later.append((time.monotonic() + seconds, work))

    def turn(self) -> None:
        """Wait for what comes next, and do it."""
        patience = max(0.0, min(when for when, _ in self._later) - time.monotonic()) if self._later else None
        for descriptor, events in self._poll.poll(patience):
            found = self._watched.get(descriptor)
            if found is not None:  # what was ready before it may have closed this one
                found[1](events)
        now = time.monotonic()
        due = [work for when, work in self._later if when <= now]
        if due:
            self._later = [each for each in self._later if each[0] > now]
            for work in due:
                work()
