"""Turns: long work on the event loop that gives way to others in between."""

from __future__ import annotations

import asyncio
import time

TURN_SECONDS = 0.004


class Turns:
    """One piece of long work. Between two calls of `give` others wait for it."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def give(self) -> None:
        """Let others have their turn, if this one has lasted long enough."""
        if time.monotonic() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.monotonic()
