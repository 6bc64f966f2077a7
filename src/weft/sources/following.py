"""Following one bucket of the store: its entries again after every change, and the store's state in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from weft.store.protocol import CompactedError, Entry, Store, StoreError

_LONGEST_WAIT = 30.0
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BucketState:
    """All entries of a bucket at `revision`; `error` says why the store cannot be read now (entries are the last)."""

    revision: int
    entries: tuple[Entry, ...]
    error: str = ""


async def follow_bucket(store: Store, bucket: str) -> AsyncIterator[BucketState]:
    """The bucket's state now and after every write to the store, also to other buckets (for its revision)."""
    state: BucketState | None = None
    stale = True
    while True:
        try:
            if state is None or stale:
                state = BucketState(*await store.list(bucket))
                stale = False
                yield state
            revision, places = await store.changes(state.revision, _LONGEST_WAIT)
            if any(place[0] == bucket for place in places):
                stale = True
            elif revision != state.revision:
                state = BucketState(revision, state.entries)
                yield state
        except CompactedError:
            stale = True
        except StoreError as error:
            if state is not None and not state.error:
                state = BucketState(state.revision, state.entries, str(error))
                yield state
            stale = True
            await asyncio.sleep(_RETRY_SECONDS)
