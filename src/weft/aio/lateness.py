"""Lateness: by how much the event loop comes round too late to what is due."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_INTERVAL = 0.5
_KEPT = 120
"""Measurements: a minute of them."""


class Lateness:
    """Measured twice a second by its task, over the last minute. `observe` is told each time, in seconds."""

    def __init__(self, observe: Callable[[float], None] | None = None) -> None:
        self._observe = observe
        self._late: deque[float] = deque(maxlen=_KEPT)

    @property
    def longest(self) -> float:
        """Seconds."""
        return max(self._late, default=0.0)

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL
            await asyncio.sleep(_INTERVAL)
            late = max(0.0, loop.time() - due)
            self._late.append(late)
            if self._observe is not None:
                self._observe(late)
