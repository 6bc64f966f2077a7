"""Memo: pure functions called again with the same (identical) arguments give the same object.

Two generations: what a build used survives into the next, the rest is dropped. Arguments are compared by identity,
tuples by the identity of their items, so the caller passes frozen nodes and small scalars only; a wrong hit would need
a node that changed, and none can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
_SCALARS = (str, int, float, bool, bytes, type(None))


def _part(argument: object) -> object:
    if isinstance(argument, tuple):
        return tuple(_part(item) for item in argument)
    if isinstance(argument, _SCALARS):
        return argument
    return id(argument)


class Memo:
    """One cache per build loop. Call `begin` before each build."""

    def __init__(self) -> None:
        self._old: dict[object, tuple[tuple[Any, ...], Any]] = {}
        self._new: dict[object, tuple[tuple[Any, ...], Any]] = {}
        self.misses = 0

    def begin(self) -> None:
        """Start a build: results not used since the last `begin` are forgotten."""
        self._old, self._new = self._new, {}
        self.misses = 0

    def __call__(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """`function(*arguments)`, computed once as long as the arguments stay the same objects."""
        key = (function, *map(_part, arguments))
        entry = self._new.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                self.misses += 1
                entry = (arguments, function(*arguments))
            self._new[key] = entry
        result: ResultT = entry[1]
        return result
