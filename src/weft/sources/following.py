"""Following one bucket of the store: all its entries once, then what each write changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from weft.store.protocol import CompactedError, Entry, Store, StoreError

_LONGEST_WAIT = 30.0
_RETRY_SECONDS = 1.0
_MOST_READ = 1000
"""Of more changed entries than this, the whole bucket is listed instead."""
_READS = 5


@dataclass(frozen=True, slots=True)
class BucketChange:
    """What became of a bucket by `revision`.

    `entries` were written and `gone` are the keys of those deleted; when `whole`, `entries` are all there are and
    everything else is gone. `error` says why the store cannot be read now; nothing has changed then.
    """

    revision: int
    entries: tuple[Entry, ...] = ()
    gone: tuple[str, ...] = ()
    whole: bool = False
    error: str = ""


async def follow_bucket(store: Store, bucket: str) -> AsyncIterator[BucketChange]:
    """The bucket's entries now, then the change of every write to the store, also to other buckets (for its revision).

    A batch is never seen in part. After an error, the next change is a whole one.
    """
    seen = -1
    failing = True
    while True:
        try:
            change = await _next(store, bucket, None if failing else seen)
        except StoreError as error:
            if not failing:
                yield BucketChange(seen, error=str(error))
            failing = True
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if change is not None:
            failing, seen = False, change.revision
            yield change


async def _next(store: Store, bucket: str, after: int | None) -> BucketChange | None:
    """What changed after a revision (None: everything there is), or None if nothing did for a while."""
    if after is None:
        return await _whole(store, bucket)
    wait = _LONGEST_WAIT
    for _ in range(_READS):
        try:
            revision, places = await store.changes(after, wait)
        except CompactedError:
            break
        if revision == after:
            return None
        keys = [key for place, key in places if place == bucket]
        if not keys:
            return BucketChange(revision)
        if len(keys) > _MOST_READ:
            break
        head, entries = await store.read(bucket, keys)
        if head == revision:
            found = {entry.key for entry in entries}
            return BucketChange(revision, entries, tuple(key for key in keys if key not in found))
        wait = 0.0  # written meanwhile, perhaps to other keys of the same batch
    return await _whole(store, bucket)


async def _whole(store: Store, bucket: str) -> BucketChange:
    return BucketChange(*await store.list(bucket), whole=True)
