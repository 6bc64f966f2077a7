"""Cell: the last value of something, with a version to wait on. One task sets it, any number wait."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class Cell(Generic[ValueT]):
    """A last-value cell. A waiter that is slow sees the newest value and never the ones between."""

    def __init__(self, value: ValueT) -> None:
        self._value = value
        self._version = 0
        self._next = asyncio.Event()

    @property
    def value(self) -> ValueT:
        """The current value."""
        return self._value

    @property
    def version(self) -> int:
        """How often `set` was called."""
        return self._version

    def set(self, value: ValueT) -> None:
        """Replace the value and wake every waiter. Only the owning task calls this, on the event loop's thread."""
        self._value = value
        self._version += 1
        waiters, self._next = self._next, asyncio.Event()
        waiters.set()

    async def changed(self, after: int) -> int:
        """Wait until the version is greater than `after`; returns the version (read `value` right away)."""
        while self._version <= after:
            await self._next.wait()
        return self._version
