"""Work in threads, a few at a time, so that what takes long holds nothing else up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ResultT = TypeVar("ResultT")


class Threads:
    """`at_once` of its own, which end with it. Work that is given up before its turn is not begun."""

    def __init__(self, at_once: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, "judging")

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """What `work` returns or raises, once it is its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
