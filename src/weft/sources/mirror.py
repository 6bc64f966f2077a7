"""A Mirror: the decoded entries of one bucket of the store, patched with what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.aio.turns import Turns
from weft.model.problem import Problem
from weft.sources.following import BucketChange
from weft.sources.ordered import Key, Ordered
from weft.store.protocol import Entry

ValueT = TypeVar("ValueT")
Decode = Callable[[Entry, ValueT | None], tuple[ValueT | None, tuple[Problem, ...]]]
"""A value from its entry and the value that was there before (to be returned if it still is the same), with Problems;
None if they keep it out of force."""


@dataclass(frozen=True, slots=True)
class _Held(Generic[ValueT]):
    """What is known of one entry."""

    revision: int
    value: ValueT | None
    problems: tuple[Problem, ...]


class Mirror(Generic[ValueT]):
    """Values in the order of their keys' parts (between slashes). Only entries that changed are decoded."""

    def __init__(self, decode: Decode[ValueT]) -> None:
        self._decode = decode
        self._held: dict[str, _Held[ValueT]] = {}
        self._values: Ordered[ValueT] = Ordered()
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self.problems: tuple[Problem, ...] = ()

    @property
    def values(self) -> tuple[ValueT, ...]:
        """All values; the same tuple as long as none of them changed."""
        return self._values.values

    async def take(self, change: BucketChange) -> None:
        """Follow a change; of a large one others need not wait for the end."""
        if change.error:
            return
        gone = self._held.keys() - {entry.key for entry in change.entries} if change.whole else change.gone
        for key in gone:
            self._held.pop(key, None)
            self._values.drop(_order(key))
            self._note(key, ())
        turns = Turns()
        for entry in change.entries:
            await turns.give()
            held = self._held.get(entry.key)
            if held is None or held.revision != entry.revision:
                self._set(entry, held.value if held else None)

    def _set(self, entry: Entry, before: ValueT | None) -> None:
        value, problems = self._decode(entry, before)
        self._held[entry.key] = _Held(entry.revision, value, problems)
        if value is None:
            self._values.drop(_order(entry.key))
        else:
            self._values.set(_order(entry.key), value)
        self._note(entry.key, problems)

    def _note(self, key: str, problems: tuple[Problem, ...]) -> None:
        if problems:
            self._problems[key] = problems
        elif self._problems.pop(key, None) is None:
            return
        self.problems = tuple(problem for _, found in sorted(self._problems.items()) for problem in found)


def _order(key: str) -> Key:
    return tuple(key.split("/"))
