"""MemoryStore: the Store protocol in a dictionary, for tests and for meshes that need not survive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from weft.aio.cell import Cell
from weft.store.leases import LeaseTable
from weft.store.protocol import (
    LEASED_BUCKET,
    Change,
    CompactedError,
    ConflictError,
    Delete,
    Entry,
    Put,
)

KEEP_REVISIONS = 4096
"""How many revisions back `changes` can answer."""


class MemoryStore:
    """See `weft.store.protocol.Store`. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, keep: int = KEEP_REVISIONS) -> None:
        self._clock = clock
        self._keep = keep
        self._entries: dict[tuple[str, str], Entry] = {}
        self._log: dict[int, tuple[tuple[str, str], ...]] = {}
        self._leases = LeaseTable()
        self._revision = Cell(0)

    async def get(self, bucket: str, key: str) -> Entry | None:
        """One entry."""
        return self._entries.get((bucket, key))

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        """The revision and the entries named, by key."""
        found = (self._entries.get((bucket, key)) for key in sorted(set(keys)))
        return self._revision.value, tuple(entry for entry in found if entry is not None)

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        """The revision and the entries of a bucket, by key."""
        found = [entry for place, entry in self._entries.items() if place[0] == bucket]
        return self._revision.value, tuple(sorted(found, key=lambda entry: entry.key))

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        """All changes or none."""
        for place, wanted in (expect or {}).items():
            held = self._entries.get(place)
            check_expected(place, wanted, held.revision if held else 0)
        revision = self._apply(changes, leases or {})
        self._extend(leases or {})
        return revision

    def _apply(self, changes: Sequence[Change], leases: Mapping[str, float]) -> int:
        revision = self._revision.value + 1
        touched = []
        for place, change in last_changes(changes).items():
            held = self._entries.get(place)
            if isinstance(change, Put):
                if held is not None and held.value == change.value:
                    continue
                created = held.created if held else self._clock()
                self._entries[place] = Entry(change.bucket, change.key, change.value, revision, created)
                if held is None and change.bucket == LEASED_BUCKET:
                    self._leases.set(change.key, leases.get(change.key, created))
            else:
                if held is None:
                    continue
                del self._entries[place]
                if change.bucket == LEASED_BUCKET:
                    self._leases.drop(change.key)
            touched.append(place)
        if not touched:
            return self._revision.value
        self._log[revision] = tuple(touched)
        self._log.pop(revision - self._keep, None)
        self._revision.set(revision)
        return revision

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Wait for writes later than `after`."""
        await wait_revision(self._revision, after, timeout)
        revision = self._revision.value
        check_kept(after, revision, self._keep)
        places = (place for number in range(after + 1, revision + 1) for place in self._log[number])
        return revision, tuple(sorted(set(places)))

    async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """Set when leases end; the keys that have no entry."""
        return self._extend(leases)

    def _extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        gone = frozenset(key for key in leases if key not in self._leases.ends)
        for key, end in leases.items():
            if key not in gone:
                self._leases.set(key, end)
        return gone

    async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
        """Delete entries whose leases are over."""
        keys = self._leases.over(now)
        self._apply([Delete(LEASED_BUCKET, key) for key in keys], {})
        return keys, self._leases.first()

    async def leases(self, keys: Collection[str] | None = None) -> Mapping[str, float]:
        """When leases end."""
        return chosen_leases(self._leases, keys)

    async def forget(self) -> None:
        """There is nothing behind."""

    async def close(self) -> None:
        """Nothing to release."""


def chosen_leases(table: LeaseTable, keys: Collection[str] | None) -> dict[str, float]:
    """When the leases of `keys` end, or all of them."""
    return dict(table.ends) if keys is None else {key: table.ends[key] for key in keys if key in table.ends}


def last_changes(changes: Sequence[Change]) -> dict[tuple[str, str], Change]:
    """The change that counts for each entry: the last one of the batch."""
    return {(change.bucket, change.key): change for change in changes}


def check_expected(place: tuple[str, str], wanted: int, held: int) -> None:
    """Raise ConflictError unless an entry has the revision the caller saw."""
    if wanted != held:
        text = f"{place[0]} {place[1]!r} is at revision {held}, expected {wanted}: read it again and repeat the change"
        raise ConflictError(text)


def check_kept(after: int, revision: int, keep: int) -> None:
    """Raise CompactedError unless every change later than `after` is still known."""
    if after > revision or after < revision - keep:
        raise CompactedError(f"changes after revision {after} are not kept (now {revision}): list again")


async def wait_revision(revision: Cell[int], after: int, timeout: float) -> None:
    """Wait until `revision` passes `after`, at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while revision.value == after:
                await revision.changed(revision.version)
    except TimeoutError:
        return
