"""The Store protocol: buckets of keyed bytes under one growing revision, with atomic batches and a watch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

LEASED_BUCKET = "workloads"
"""The bucket whose entries are held by leases."""


class StoreError(Exception):
    """The store cannot be read or written now; the message says why. Nothing was written."""


class ConflictError(StoreError):
    """An expected revision did not hold; nothing was written."""


class CompactedError(StoreError):
    """The changes asked for are no longer kept; list again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored value. `revision` is that of its last write, `created` the time of its first (epoch seconds)."""

    bucket: str
    key: str
    value: bytes
    revision: int
    created: float


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value."""

    bucket: str
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a value; removing what is not there changes nothing."""

    bucket: str
    key: str


Change = Put | Delete


class Store(Protocol):
    """Back ends pass `tests/conformance/test_store.py`.

    Every entry of bucket ``workloads`` has a lease, whose key is the entry's. A lease is not part of the entry's value:
    renewing one makes no revision and no watch event, and a renewal may be lost in a crash.
    """

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """The current revision and those of the entries named that exist, sorted by key, as they are together at it."""

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """The current revision and all entries of a bucket, sorted by key."""

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """Apply all changes or none and return the new revision, durable when this returns.

        `expect` maps (bucket, key) to the revision its entry must have, 0 meaning absent; else ConflictError.
        `leases` are set in the same step, as by `extend`; without one, a new entry's lease is over at once.
        A batch that changes nothing keeps the revision.
        """

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Wait up to `timeout` seconds for writes later than revision `after`.

        Returns the current revision and the (bucket, key) pairs written since, each once; CompactedError if unknown.
        """

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """Set when leases end (epoch seconds), by key. Returns the keys that have no entry; nothing is set for them."""

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """Delete every entry whose lease has ended by `now`, in one step: what is renewed before it stays, and what is
        renewed after `extend` has said that it is gone. Returns the keys and when the next lease ends (or infinity)."""

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """When leases end, by key: all of them, or those of `keys` that exist."""

    async def forget(self) -> None:
        """Leave nothing behind of values that were overwritten or deleted, as far as the back end can."""

    async def close(self) -> None:
        """Release files and threads."""
