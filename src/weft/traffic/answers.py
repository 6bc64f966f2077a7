"""Answers that took long: given again for a while to whoever asks the same, and worked out once however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

_SHARE = 5.0
"""An answer is good for so many times as long as it took."""
_QUICK_SECONDS = 0.05
"""What takes less is worked out each time."""
_MOST = 32
AnswerT = TypeVar("AnswerT")


@dataclass(slots=True)
class _Known:
    work: asyncio.Task[Any]
    until: float = 0.0


class Answers:
    """By question. A question's work goes on when who asked first gives up, for those who ask the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Hashable, _Known] = {}

    async def of(self, question: Hashable, work: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """The answer that is known, that is being worked out, or that `work` gives now."""
        known = self._known.get(question)
        if known is None or (known.work.done() and known.until <= self._clock()):
            self._known.pop(question, None)
            self._known[question] = known = _Known(asyncio.ensure_future(self._timed(question, work)))
            while len(self._known) > _MOST and (oldest := next(iter(self._known))) != question:
                del self._known[oldest]
        answer: AnswerT = await asyncio.shield(known.work)
        return answer

    async def _timed(self, question: Hashable, work: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        began = self._clock()
        try:
            return await work()
        finally:
            took, known = self._clock() - began, self._known.get(question)
            if known is not None:
                known.until = self._clock() + (took * _SHARE if took > _QUICK_SECONDS else 0.0)
