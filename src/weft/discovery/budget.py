"""The Budget: how many bytes are on the way to all clients together, and whose turn it is when these are too many."""

from __future__ import annotations

from typing import Protocol


class Waiting(Protocol):
    """Who waits for a turn; an asyncio.Event."""

    def set(self) -> None:
        """It is your turn."""


class Share:
    """What one response takes of the budget."""

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget = budget
        self._size = size

    def give(self) -> None:
        """Give it back. Once is enough, more often is the same."""
        size, self._size = self._size, 0
        if size:
            self._budget.in_flight -= size
            self._budget.pass_on()


class Budget:
    """Responses of more than `small` bytes wait while `limit` or more are on the way; others neither wait nor count.

    So there are at most `limit` bytes and one response more. A turn goes to one at a time, first come, first served.
    Whoever sends a response, of any size, passes the turn on with it, and is given none until it says again that it
    waits: the client may never read. Who has nothing to send must `leave`. `in_flight` are the bytes on the way,
    `total` those of all responses there ever were.
    """

    def __init__(self, limit: int, small: int) -> None:
        self._limit = limit
        self._small = small
        self._queue: dict[Waiting, bool] = {}  # False: keeps its place, but is sending something else
        self.in_flight = 0
        self.total = 0

    @property
    def most(self) -> int | None:
        """The size of the largest response that may be sent now; None is any."""
        return self._small if self.in_flight >= self._limit else None

    def take(self, size: int, who: Waiting) -> Share | None:
        """A response of `who` goes on its way. None: it is small."""
        self.total += size
        share = None
        if size > self._small:
            self.in_flight += size
            share = Share(self, size)
        if who in self._queue:
            self._queue[who] = False
        self.pass_on()
        return share

    def wait(self, who: Waiting) -> None:
        """`who` has a response that is too large for now."""
        self._queue[who] = True

    def leave(self, who: Waiting) -> None:
        """`who` waits no longer."""
        self._queue.pop(who, None)
        self.pass_on()

    def pass_on(self) -> None:
        """Give the next their turn, if there is room."""
        if self._queue and self.in_flight < self._limit:
            following = next((one for one, waits in self._queue.items() if waits), None)
            if following is not None:
                del self._queue[following]
                following.set()
