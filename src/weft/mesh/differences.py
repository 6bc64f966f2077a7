"""Differences: what is not the same objects as before, and mappings patched where that is so. Compared by identity."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from operator import is_not
from types import MappingProxyType
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
Columns = tuple[Sequence[Any], ...]
_IN_PLACE = 2
"""So many differences between sequences of one length are taken for changes in place, more for items that moved."""


def changed_rows(before: Columns, after: Columns) -> tuple[list[int], list[int] | None]:
    """The rows of `after` that `before` does not have, and for each row of `after` the row of `before` it continues
    (-1: none; the list is None where every row continues the one at its own place).

    The columns of a table have one length. A row is the same if the objects of all its columns are.
    """
    if len(before[0]) == len(after[0]):
        changed = set(_differing(before[0], after[0]))
        if len(changed) <= _IN_PLACE:
            for old, new in zip(before[1:], after[1:], strict=True):
                changed.update(_differing(old, new))
            return sorted(changed), None
    places = _places(before[0], after[0])
    moved = [
        row
        for row, place in enumerate(places)
        if place < 0 or any(old[place] is not new[row] for old, new in zip(before, after, strict=True))
    ]
    return moved, places


def _differing(before: Sequence[object], after: Sequence[object]) -> Iterable[int]:
    return () if before is after else compress(range(len(after)), map(is_not, before, after))


def _places(before: Sequence[object], after: Sequence[object]) -> list[int]:
    """Where each item of `after` stood in `before`, each place once: what is common at both ends, then by identity in
    between."""
    shorter = min(len(before), len(after))
    start = next(compress(range(shorter), map(is_not, before, after)), shorter)
    longest = shorter - start
    end = next(compress(range(longest), map(is_not, reversed(before), reversed(after))), longest)
    between = {id(before[place]): place for place in range(start, len(before) - end)}
    return [
        *range(start),
        *(between.pop(id(item), -1) for item in after[start : len(after) - end]),
        *range(len(before) - end, len(before)),
    ]


def exchanged(before: Sequence[ItemT], after: Sequence[ItemT]) -> tuple[list[ItemT], list[ItemT]]:
    """The items that `after` has no longer, and those that it has new. One that is there twice counts twice."""
    if before is after:
        return [], []
    changed, places = changed_rows((before,), (after,))
    if places is None:
        return [before[row] for row in changed], [after[row] for row in changed]
    staying = set(places)
    return [item for row, item in enumerate(before) if row not in staying], [after[row] for row in changed]


def _copied(mapping: Mapping[KeyT, ValueT]) -> dict[KeyT, ValueT]:
    """A dictionary like it. A proxy copies the dictionary behind it, without asking keys for their hashes again."""
    return mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)


def patched_table(
    before: tuple[Sequence[ItemT], Mapping[KeyT, ValueT]],
    items: Sequence[ItemT],
    pairs: Callable[[ItemT], Iterable[tuple[KeyT, ValueT]]],
) -> Mapping[KeyT, ValueT]:
    """The `pairs` of all items, no two with a key in common. `before` are earlier items with their table, which is
    returned if nothing changed."""
    earlier, table = before
    gone, come = exchanged(earlier, items)
    if not gone and not come:
        return table
    patched = _copied(table)
    for item in gone:
        for key, _ in pairs(item):
            patched.pop(key, None)
    for item in come:
        patched.update(pairs(item))
    return MappingProxyType(patched)


def patched_groups(
    before: tuple[Sequence[ItemT], Mapping[KeyT, tuple[ItemT, ...]]],
    items: Sequence[ItemT],
    keys: Callable[[ItemT], Iterable[KeyT]],
    order: Callable[[ItemT], Any],
) -> Mapping[KeyT, tuple[ItemT, ...]]:
    """The items under each of their `keys`, in `order`, which tells any two apart. `before` are earlier items with
    their groups, of which those that did not change stay the same objects."""
    earlier, groups = before
    gone, come = exchanged(earlier, items)
    if not gone and not come:
        return groups
    leaving: dict[KeyT, list[int]] = {}
    joining: dict[KeyT, list[ItemT]] = {}
    for item in gone:
        for key in keys(item):
            leaving.setdefault(key, []).append(id(item))
    for item in come:
        for key in keys(item):
            joining.setdefault(key, []).append(item)
    patched = _copied(groups)
    for key in {**leaving, **joining}:
        members = _without(patched.get(key, ()), leaving.get(key, ()))
        fresh = joining.get(key, ())
        if len(fresh) > 8:
            members = sorted([*members, *fresh], key=order)
        else:
            for item in fresh:
                insort(members, item, key=order)
        if members:
            patched[key] = tuple(members)
        else:
            del patched[key]
    return MappingProxyType(patched)


def _without(items: Iterable[ItemT], leaving: Sequence[int]) -> list[ItemT]:
    """The items but for those with these ids, each as often as its id is there."""
    count = Counter(leaving)
    staying = []
    for item in items:
        if count and count[id(item)] > 0:
            count[id(item)] -= 1
        else:
            staying.append(item)
    return staying
