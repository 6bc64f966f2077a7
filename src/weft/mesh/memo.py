"""Memo: pure functions called again with the same (identical) arguments give the same object.

Two generations: what a build used survives into the next, the rest is dropped. Arguments are compared by identity,
scalars by type and value, tuples item by item, so the caller passes frozen nodes and small scalars only; a wrong hit
would need a node that changed, and none can. A remembered call that itself called the memo keeps those inner calls
alive too.

A function that needs the memo itself takes it as its first parameter, or, where `over` calls it, as its second.

Tables cost what changes in them: `rows` calls a function once for each row and again for rows that changed, `table`
and `groups` are mappings made of items and patched where these changed. What they return equals what they would return
the first time: what changed is found by comparing the objects (`weft.mesh.differences`), never told by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from weft.mesh.differences import Columns, changed_rows, patched_groups, patched_table

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
P = ParamSpec("P")
_THEMSELVES = frozenset((str, bytes, type(None)))
"""Types whose values equal no value of another type, nor an id."""
_NUMBERS = frozenset((int, float, bool))
"""Types whose values equal each other's (1, 1.0, True), and ids."""


class _Entry:
    """One remembered call: its arguments (kept alive, so that their ids stay theirs), result, and inner calls. `memos`
    are what the rows of a table remember."""

    __slots__ = ("arguments", "inner", "memos", "result")

    def __init__(self, arguments: Any, result: Any = None, memos: Sequence[Memo | None] = ()) -> None:
        self.arguments = arguments
        self.result = result
        self.memos = memos
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

    __slots__ = ("_calls", "_new", "_old", "misses")

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

    def rows(
        self, function: Callable[..., ResultT], columns: Columns, /, *shared: object, name: str = ""
    ) -> tuple[ResultT, ...]:
        """``function(memo, *row, *shared)`` for each row of a table, in order; a row of the same objects as in the last
        call is not computed again, and without any change the result is the same object.

        The memo a row is given is its own: what it remembers lasts as long as the row. `shared` are nodes and scalars;
        when one of them changes, so does every row. `name` tells tables apart that share function and arguments.
        """
        key = (function, "rows", name, *map(_part, shared))
        last = self._new.get(key) or self._old.get(key)
        if last is None:
            count = len(columns[0])
            entry = _computed_rows(range(count), [None] * count, [None] * count, function, columns, shared)
        else:
            entry = _patched_rows(last, function, columns, shared)
        return self._used(key, entry)  # type: ignore[no-any-return]

    def table(
        self,
        function: Callable[..., Iterable[tuple[KeyT, ValueT]]],
        items: Sequence[ItemT],
        /,
        *shared: object,
        name: str = "",
    ) -> Mapping[KeyT, ValueT]:
        """All pairs of ``function(item, *shared)`` as one mapping. No two items may give the same key."""
        key = (function, "table", name, *map(_part, shared))
        last = self._new.get(key) or self._old.get(key)
        before = (last.arguments[0], last.result) if last else ((), {})
        result = patched_table(before, items, lambda item: function(item, *shared))
        return self._used(key, _Entry((items, shared), result))  # type: ignore[no-any-return]

    def groups(
        self,
        function: Callable[..., Iterable[KeyT]],
        order: Callable[[ItemT], Any],
        items: Sequence[ItemT],
        /,
        *shared: object,
        name: str = "",
    ) -> Mapping[KeyT, tuple[ItemT, ...]]:
        """The items under each key that ``function(item, *shared)`` gives, sorted by `order`."""
        key = (function, "groups", name, *map(_part, shared))
        last = self._new.get(key) or self._old.get(key)
        before = (last.arguments[0], last.result) if last else ((), {})
        result = patched_groups(before, items, lambda item: function(item, *shared), order)
        return self._used(key, _Entry((items, shared), result))  # type: ignore[no-any-return]

    def _used(self, key: object, entry: _Entry) -> Any:
        self._new[key] = entry
        if self._calls:
            self._calls[-1].inner[key] = entry
        return entry.result

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

    def remembers(self) -> bool:
        """Whether anything was remembered since `begin`."""
        return bool(self._new)


def _patched_rows(last: _Entry, function: Callable[..., Any], columns: Columns, shared: tuple[object, ...]) -> _Entry:
    changed, places = changed_rows(last.arguments[0], columns)
    if not changed and places is None:
        return last
    if places is None:
        return _computed_rows(changed, list(last.result), list(last.memos), function, columns, shared)
    results = [last.result[place] if place >= 0 else None for place in places]
    memos = [last.memos[place] if place >= 0 else None for place in places]
    return _computed_rows(changed, results, memos, function, columns, shared)


def _computed_rows(
    changed: Iterable[int],
    results: list[Any],
    memos: list[Memo | None],
    function: Callable[..., Any],
    columns: Columns,
    shared: tuple[object, ...],
) -> _Entry:
    """The entry of a table whose `changed` rows are computed now; what the others gave stands in `results`."""
    for row in changed:
        memo = memos[row] or Memo()
        memo.begin()
        results[row] = function(memo, *[column[row] for column in columns], *shared)
        memo.end()
        memos[row] = memo if memo.remembers() else None
    return _Entry((columns, shared), tuple(results), memos)


def _tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items
