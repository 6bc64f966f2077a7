"""The Budget: how many bytes are on the way to all clients together, and whose turn it is when these are too many."""

from __future__ import annotations

from typing import Protocol


class Waiting(Protocol):
    """Who waits for a turn; an asyncio.Event."""

    def set(self) -> None:
        """It is your turn."""


class Budget:
    """Large responses wait while `limit` bytes or more are on the way, responses of up to `small` bytes never do.

    So there are at most `limit` bytes and one response more. A turn goes to one at a time, first come, first served;
    who had one must call `pass_on`, and who leaves `leave`.
    """

    def __init__(self, limit: int, small: int) -> None:
        self._limit = limit
        self._small = small
        self._queue: dict[Waiting, None] = {}
        self.in_flight = 0
        self.total = 0

    @property
    def most(self) -> int | None:
        """The size of the largest response that may be sent now; None is any."""
        return self._small if self.in_flight >= self._limit else None

    def take(self, size: int) -> None:
        """A response goes on its way."""
        self.in_flight += size
        self.total += size

    def give(self, size: int) -> None:
        """It has arrived, or never will."""
        self.in_flight -= size
        self.pass_on()

    def wait(self, who: Waiting) -> None:
        """`who` has a response that is too large for now."""
        self._queue[who] = None

    def leave(self, who: Waiting) -> None:
        """`who` waits no longer."""
        self._queue.pop(who, None)
        self.pass_on()

    def pass_on(self) -> None:
        """Give the next their turn, if there is room."""
        if self._queue and self.in_flight < self._limit:
            following = next(iter(self._queue))
            del self._queue[following]
            following.set()
