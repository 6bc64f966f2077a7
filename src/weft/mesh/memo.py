"""Memo: pure functions called again with the same (identical) arguments give the same object.

Two generations: what a build used survives into the next, the rest is dropped. Arguments are compared by identity,
scalars by type and value, tuples item by item, so the caller passes frozen nodes and small scalars only; a wrong hit
would need a node that changed, and none can. A remembered call that itself called the memo keeps those inner calls
alive too.

A function that needs the memo itself takes it as its first parameter, or, where `over` calls it, as its second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
P = ParamSpec("P")
_THEMSELVES = frozenset((str, bytes, type(None)))
"""Types whose values equal no value of another type, nor an id."""
_NUMBERS = frozenset((int, float, bool))
"""Types whose values equal each other's (1, 1.0, True), and ids."""


class _Entry:
    """One remembered call: its arguments (kept alive, so that their ids stay theirs), result, and inner calls."""

    __slots__ = ("arguments", "inner", "result")

    def __init__(self, arguments: object) -> None:
        self.arguments = arguments
        self.result: Any = None
        self.inner: dict[object, _Entry] = {}


def _part(argument: object) -> object:
    kind = type(argument)
    if kind in _THEMSELVES:
        return argument
    if kind in _NUMBERS:
        return (kind, argument)
    if kind is tuple:
        return tuple([_part(item) for item in argument])  # type: ignore[attr-defined]
    if isinstance(argument, str):
        return (kind, str(argument))
    return id(argument)


class Memo:
    """One cache per build loop. Call `begin` before each build, `end` when all that is made of it was asked for."""

    def __init__(self) -> None:
        self._old: dict[object, _Entry] = {}
        self._new: dict[object, _Entry] = {}
        self._calls: list[_Entry] = []
        self.misses = 0

    def begin(self) -> None:
        """Start a build: results not used since the last `begin` are forgotten."""
        self._old, self._new = self._new, {}
        self.misses = 0

    def end(self) -> None:
        """End a build: what it did not use is given back now, not at the next `begin`."""
        self._old = {}

    def __call__(self, function: Callable[P, ResultT], /, *arguments: P.args, **named: P.kwargs) -> ResultT:
        """`function(*arguments)`, computed once as long as the arguments stay the same objects. By position only."""
        if named:
            raise TypeError("arguments of a remembered call are given by position")
        return self._recall((function, *map(_part, arguments)), function, arguments)

    def over(
        self,
        function: Callable[Concatenate[tuple[ItemT, ...], P], ResultT],
        items: Iterable[ItemT],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> ResultT:
        """`function(tuple(items), *arguments)` where every item is a node: the fast form for long tuples."""
        if named:
            raise TypeError("arguments of a remembered call are given by position")
        nodes = tuple(items)
        key = (function, tuple(map(id, nodes)), *map(_part, arguments))
        return self._recall(key, function, (nodes, *arguments))

    def same(self, items: Iterable[ItemT]) -> tuple[ItemT, ...]:
        """The tuple of these nodes, as the same object as long as the nodes are the same."""
        return self.over(_tuple, items)

    def _recall(self, key: object, function: Callable[..., ResultT], arguments: tuple[object, ...]) -> ResultT:
        entry = self._new.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                entry = self._compute(key, function, arguments)
            elif entry.inner:
                self._keep(key, entry)
            else:
                self._new[key] = entry
        if self._calls:
            self._calls[-1].inner[key] = entry
        result: ResultT = entry.result
        return result

    def _compute(self, key: object, function: Callable[..., Any], arguments: tuple[object, ...]) -> _Entry:
        self.misses += 1
        entry = _Entry(arguments)
        self._calls.append(entry)
        try:
            entry.result = function(*arguments)
        finally:
            self._calls.pop()
        self._new[key] = entry
        return entry

    def _keep(self, key: object, entry: _Entry) -> None:
        """Carry an entry of the last generation, and what it was made of, into this one."""
        pending = [(key, entry)]
        while pending:
            key, entry = pending.pop()
            if key not in self._new:
                self._new[key] = entry
                pending.extend(entry.inner.items())


def _tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items
