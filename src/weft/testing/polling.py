"""Waiting in tests: poll with a deadline, never sleep for luck. `until` blocks, `eventually` is for event loops."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")
_LONGEST_PAUSE = 1.0

NOT_YET = (OSError, ValueError, LookupError, AssertionError)
"""What a condition may raise to say that it does not hold yet: nobody listens, half a file, not there."""


def until(what: str, condition: Callable[[], T], deadline: float = 60.0, every: float = 0.05) -> T:
    """Poll until `condition` gives something true, and return it. One that takes long, such as a command, is asked
    again after as long: the machine is there for what is waited for.

    AssertionError after `deadline` seconds (many: a machine may be busy), with `what` and what was raised last. What is
    none of `NOT_YET` ends the waiting at once.
    """
    end = time.monotonic() + deadline
    last: BaseException | None = None
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            if result := condition():
                return result
            last = None
        except NOT_YET as error:
            last = error
        time.sleep(min(max(every, time.monotonic() - began), _LONGEST_PAUSE))
    raise AssertionError(_too_late(what, deadline, last))


@overload
async def eventually(
    what: str, condition: Callable[[], Awaitable[T]], deadline: float = 60.0, every: float = 0.02
) -> T: ...
@overload
async def eventually(what: str, condition: Callable[[], T], deadline: float = 60.0, every: float = 0.02) -> T: ...
async def eventually(
    what: str, condition: Callable[[], T | Awaitable[T]], deadline: float = 60.0, every: float = 0.02
) -> T:
    """As `until`, while the event loop goes on; `condition` may be a coroutine function."""
    end = time.monotonic() + deadline
    last: BaseException | None = None
    while time.monotonic() < end:
        try:
            answer = condition()
            result: T = await answer if inspect.isawaitable(answer) else answer
            if result:
                return result
            last = None
        except NOT_YET as error:
            last = error
        await asyncio.sleep(every)
    raise AssertionError(_too_late(what, deadline, last))


def _too_late(what: str, deadline: float, last: BaseException | None) -> str:
    return f"not within {deadline:g} s: {what}" + (f" (last: {last!r})" if last else "")
