"""Ordered: values by key, patched in place and handed on as one sorted tuple."""

from __future__ import annotations

import bisect
from typing import Generic, TypeVar

Key = tuple[str, ...]
ValueT = TypeVar("ValueT")


class Ordered(Generic[ValueT]):
    """A change costs a search and the copy of the tuple."""

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._items: list[ValueT] = []
        self._tuple: tuple[ValueT, ...] | None = ()

    @property
    def values(self) -> tuple[ValueT, ...]:
        """The values by key; the same object as long as nothing changed."""
        if self._tuple is None:
            self._tuple = tuple(self._items)
        return self._tuple

    def set(self, key: Key, value: ValueT) -> None:
        """Put `value` in its place; setting the very object that is there changes nothing."""
        index = bisect.bisect_left(self._keys, key)
        if not self._is_at(index, key):
            self._keys.insert(index, key)
            self._items.insert(index, value)
        elif self._items[index] is value:
            return
        else:
            self._items[index] = value
        self._tuple = None

    def drop(self, key: Key) -> None:
        """Take out the value of `key`, if there is one."""
        index = bisect.bisect_left(self._keys, key)
        if self._is_at(index, key):
            del self._keys[index]
            del self._items[index]
            self._tuple = None

    def _is_at(self, index: int, key: Key) -> bool:
        return index < len(self._keys) and self._keys[index] == key
