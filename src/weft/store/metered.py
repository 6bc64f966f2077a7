"""A Store whose reads and writes are timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from weft.store.protocol import Change, Entry, Store

Observe = Callable[[float, str], None]
"""Called with the seconds that an operation took, and ``read`` or ``write``; failed ones count as ``failed``."""


class MeteredStore:
    """See `weft.store.protocol.Store`. Waiting for changes is not timed: it is meant to last."""

    def __init__(self, store: Store, observe: Observe, clock: Callable[[], float] = time.perf_counter) -> None:
        self._store = store
        self._observe = observe
        self._clock = clock

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""
        with self._timed("read"):
            return await self._store.get(bucket, key)

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        with self._timed("read"):
            return await self._store.read(bucket, keys)

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """See the protocol."""
        with self._timed("read"):
            return await self._store.list(bucket)

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """See the protocol."""
        with self._timed("write"):
            return await self._store.write(changes, expect, leases)

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        """See the protocol."""
        return await self._store.changes(after, timeout)

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """See the protocol."""
        with self._timed("write"):
            return await self._store.extend(leases)

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """See the protocol."""
        with self._timed("write"):
            return await self._store.expire(now)

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """See the protocol."""
        with self._timed("read"):
            return await self._store.leases(keys)

    async def forget(self) -> None:
        """See the protocol."""
        await self._store.forget()

    async def close(self) -> None:
        """See the protocol."""
        await self._store.close()

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        except Exception:
            operation = "failed"
            raise
        finally:
            self._observe(self._clock() - began, operation)
