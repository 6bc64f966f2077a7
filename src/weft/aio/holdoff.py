"""HoldOff: many pokes become one wake-up, after a quiet time but never later than a longest time."""

from __future__ import annotations

import asyncio


class HoldOff:
    """Collects pokes. `quiet` and `longest` are seconds; the clock is the event loop's."""

    def __init__(self, quiet: float, longest: float) -> None:
        self._quiet = quiet
        self._longest = longest
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Something changed."""
        self._poked.set()

    async def wait(self) -> None:
        """Return once poked, when no poke came for the quiet time or the longest time has passed since the first.

        Whatever was poked before the return is covered by it; later pokes lead to the next return.
        """
        await self._poked.wait()
        clock = asyncio.get_running_loop().time
        last = clock() + self._longest
        while True:
            self._poked.clear()
            left = min(self._quiet, last - clock())
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._poked.wait()
            except TimeoutError:
                return
