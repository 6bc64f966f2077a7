"""Memo: pure functions called again with the same (identical) arguments give the same object.

Arguments are compared by identity, scalars by type and value, tuples item by item, so the caller passes frozen nodes
and small scalars only; a wrong hit would need a node that changed, and none can. What the latest build did not use is
forgotten when `sweep` is called; a remembered call that itself called the memo keeps those inner calls alive too.

A function that needs the memo itself takes it as its first parameter, or, where `over` calls it, as its second.

Tables cost what changes in them: `rows` calls a function once for each row and again for rows that changed, `table`
and `groups` are mappings made of items and patched where these changed. What they return equals what they would return
the first time: what changed is found by comparing the objects (`weft.mesh.differences`), never told by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from weft.mesh.differences import Columns, changed_rows, patched_groups, patched_table

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
P = ParamSpec("P")
_SWEEP_AFTER = 16
"""Builds. A sweep looks at everything that is remembered."""


class _Entry:
    """One remembered call: its key, its arguments (kept alive, so that their ids stay theirs), result, and inner calls.
    `memos` are what the rows of a table remember."""

    __slots__ = ("arguments", "inner", "key", "memos", "result")

    def __init__(self, key: object, arguments: Any, result: Any = None, memos: Sequence[Memo | None] = ()) -> None:
        self.key = key
        self.arguments = arguments
        self.result = result
        self.memos = memos
        self.inner: set[_Entry] = set()


def _number(value: object) -> object:
    """Numbers of several types equal each other (1, 1.0, True), and ids."""
    return (type(value), value)


def _nothing(_: object) -> object:
    return None


def _items(items: Any) -> object:
    return tuple([_KEYS.get(type(each), _learn)(each) for each in items])


def _word(word: object) -> object:
    """A member of an enumeration of words is not the word."""
    return (type(word), str(word))


_KEYS: dict[type, Callable[[Any], object]] = {
    str: str, bytes: bytes, type(None): _nothing, int: _number, float: _number, bool: _number, tuple: _items
}  # fmt: skip
"""What stands for an argument in the key of a call, by its type: itself for words, the id for nodes."""


def _learn(argument: object) -> object:
    """`_KEYS` for a type met for the first time."""
    kind = type(argument)
    _KEYS[kind] = _word if issubclass(kind, str) else id
    return _KEYS[kind](argument)


def _part(argument: object) -> object:
    return _KEYS.get(type(argument), _learn)(argument)


class Memo:
    """One cache per build loop. Call `begin` before each build, `end` when all that is made of it was asked for."""

    __slots__ = ("_calls", "_entries", "_roots", "_unswept", "misses")

    def __init__(self) -> None:
        self._entries: dict[object, _Entry] = {}
        self._roots: set[_Entry] = set()
        self._calls: list[_Entry] = []
        self._unswept = 0
        self.misses = 0

    def begin(self) -> None:
        """Start a build."""
        self._roots = set()
        self.misses = 0

    def end(self) -> None:
        """End a build. Every so often, what it did not use is forgotten."""
        self._unswept += 1
        if self._unswept >= _SWEEP_AFTER:
            self.sweep()

    def sweep(self) -> None:
        """Forget what neither the latest build nor anybody since has used."""
        kept: dict[object, _Entry] = {}
        pending = list(self._roots)
        while pending:
            entry = pending.pop()
            if entry.key not in kept:
                entry = kept[entry.key] = self._entries.get(entry.key, entry)
                pending.extend(entry.inner)
        self._entries = kept
        self._unswept = 0

    @property
    def swept(self) -> bool:
        """Whether nothing was built since the last `sweep`."""
        return not self._unswept

    def __call__(self, function: Callable[P, ResultT], /, *arguments: P.args, **named: P.kwargs) -> ResultT:
        """`function(*arguments)`, computed once as long as the arguments stay the same objects. By position only."""
        if named:
            raise TypeError("arguments of a remembered call are given by position")
        key = (function, *[_KEYS.get(type(each), _learn)(each) for each in arguments])
        entry = self._entries.get(key)
        if entry is None:
            entry = self._compute(key, function, arguments)
        (self._calls[-1].inner if self._calls else self._roots).add(entry)
        return entry.result  # type: ignore[no-any-return]

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
        entry = self._entries.get(key)
        if entry is None:
            entry = self._compute(key, function, (nodes, *arguments))
        (self._calls[-1].inner if self._calls else self._roots).add(entry)
        return entry.result  # type: ignore[no-any-return]

    def same(self, items: Iterable[ItemT]) -> tuple[ItemT, ...]:
        """The tuple of these nodes, as the same object as long as the nodes are the same."""
        return self.over(_tuple, items)

    def rows(
        self, function: Callable[..., ResultT], columns: Columns, /, *shared: object, name: str = ""
    ) -> tuple[ResultT, ...]:
        """``function(memo, *row, *shared)`` for each row of a table, in order; a row of the same objects as in the last
        call is not computed again, and without any change the result is the same object.

        The memo a row is given is its own: what it remembers lasts as long as the row, also when `shared` (nodes and
        scalars), and so every row, changes. `name` tells tables of one function apart.
        """
        key = (function, "rows", name)
        return self._used(_patched_rows(self._entries.get(key), key, function, columns, shared))  # type: ignore[no-any-return]

    def table(
        self,
        function: Callable[..., Iterable[tuple[KeyT, ValueT]]],
        items: Sequence[ItemT],
        /,
        *shared: object,
        name: str = "",
    ) -> Mapping[KeyT, ValueT]:
        """All pairs of ``function(item, *shared)`` as one mapping. No two items may give the same key."""
        key = (function, "table", name)
        before = _unless_shared_changed(self._entries.get(key), shared)
        result = patched_table(before, items, lambda item: function(item, *shared))
        return self._used(_Entry(key, (items, shared), result))  # type: ignore[no-any-return]

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
        key = (function, "groups", name)
        before = _unless_shared_changed(self._entries.get(key), shared)
        result = patched_groups(before, items, lambda item: function(item, *shared), order)
        return self._used(_Entry(key, (items, shared), result))  # type: ignore[no-any-return]

    def _used(self, entry: _Entry) -> Any:
        self._entries[entry.key] = entry
        (self._calls[-1].inner if self._calls else self._roots).add(entry)
        return entry.result

    def _compute(self, key: object, function: Callable[..., Any], arguments: tuple[object, ...]) -> _Entry:
        self.misses += 1
        entry = _Entry(key, arguments)
        self._calls.append(entry)
        try:
            entry.result = function(*arguments)
        finally:
            self._calls.pop()
        self._entries[key] = entry
        return entry

    def remembers(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._entries)


def _unless_shared_changed(last: _Entry | None, shared: tuple[object, ...]) -> tuple[Any, Any]:
    """The items of the last call and what they gave; nothing if they gave it with other `shared` arguments."""
    if last is None or _items(last.arguments[1]) != _items(shared):
        return (), {}
    return last.arguments[0], last.result


def _patched_rows(
    last: _Entry | None, key: object, function: Callable[..., Any], columns: Columns, shared: tuple[object, ...]
) -> _Entry:
    count = len(columns[0])
    if last is None:
        return _computed_rows(key, range(count), [None] * count, [None] * count, function, columns, shared)
    changed, places = changed_rows(last.arguments[0], columns)
    same = _items(last.arguments[1]) == _items(shared)
    if same and not changed and places is None:
        return last
    results, memos = list(last.result), list(last.memos)
    if places is not None:
        results = [last.result[place] if place >= 0 else None for place in places]
        memos = [last.memos[place] if place >= 0 else None for place in places]
    return _computed_rows(key, changed if same else range(count), results, memos, function, columns, shared)


def _computed_rows(
    key: object,
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
        memo.sweep()
        memos[row] = memo if memo.remembers() else None
    return _Entry(key, (columns, shared), tuple(results), memos)


def _tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items
