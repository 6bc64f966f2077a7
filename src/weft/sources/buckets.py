"""A source that is one bucket of the store: its entries, decoded, as a part of the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from weft.aio.cell import Cell
from weft.model.problem import Problem
from weft.sources.contents import Contents
from weft.sources.following import follow_bucket
from weft.sources.mirror import Decode, Mirror
from weft.store.protocol import Store

ValueT = TypeVar("ValueT")
Hold = Callable[[tuple[ValueT, ...], tuple[Problem, ...], int], Contents]
"""The contents that hold all values, the Problems of those that cannot be read, and the revision of the store."""


class BucketSource(Generic[ValueT]):
    """Follows `bucket`. `decode` is as `Mirror` takes it."""

    def __init__(self, store: Store, bucket: str, decode: Decode[ValueT], hold: Hold[ValueT]) -> None:
        self._store = store
        self._bucket = bucket
        self._decode = decode
        self._hold = hold
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Follow the store for ever."""
        mirror = Mirror(self._decode)
        async for change in follow_bucket(self._store, self._bucket):
            await mirror.take(change)
            self._contents.set(self._hold(mirror.values, mirror.problems, change.revision))
