"""The shelf: where revisions lie in the store, how many of them, and how many bytes.

What cannot be read, because it is damaged or of another version of weft, is as if it were not there: one entry must not
take the rest of the history with it, nor what is written next.

A revision is three entries: what is listed, the documents, and the resources. A fourth bucket says of each object which
revision changed it last, so that changes made while no control plane ran are found, and conflicts of an undo.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import msgspec

from weft.admin.history.record import Outcome, Record, Versions
from weft.admin.history.resources import Resources
from weft.store.protocol import Change, ConflictError, Delete, Entry, Put, Store, StoreError
from weft.store.sealing.envelope import is_sealed

RECORDS = "history"
DOCUMENTS = "history-documents"
RESOURCES = "history-resources"
OBJECTS = "history-objects"
_META = "history-meta"
_KEY = "hash-key"
KEEP_REVISIONS = 1000
KEEP_BYTES = 64 << 20
"""Of all revisions together; the oldest are forgotten first."""
REVISION_BYTES = 1 << 20
"""Of the documents of one revision; of what is beyond only the hashes are kept."""
_TRIM_AFTER = 16
_log = logging.getLogger("weft.history")
KindT = TypeVar("KindT")


class Head(msgspec.Struct, frozen=True):
    """The latest known state of one object: its hash, the revision that made it so, and who owns it."""

    hash: str
    revision: int
    owner: str


class Shelf:
    """Reads and writes revisions. StoreError where the store does not answer."""

    def __init__(self, store: Store, keep: int = KEEP_REVISIONS, keep_bytes: int = KEEP_BYTES) -> None:
        self._store = store
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._latest = 0
        self._untrimmed = _TRIM_AFTER

    async def hash_key(self) -> bytes:
        """The key of the hashes, made when it is first asked for."""
        entry = await self._store.get(_META, _KEY)
        if entry is None:
            fresh = secrets.token_bytes(32)
            try:
                await self._store.write([Put(_META, _KEY, fresh)], {(_META, _KEY): 0})
            except ConflictError:
                return await self.hash_key()
            return fresh
        if is_sealed(entry.value):
            raise StoreError("the key of the history's hashes is sealed with a key that is not here")
        return entry.value

    async def records(self) -> tuple[Record, ...]:
        """What is kept, latest first."""
        _, entries = await self._store.list(RECORDS)
        return tuple(found for entry in reversed(entries) if (found := _read(entry, Record)) is not None)

    async def record(self, revision: int) -> Record | None:
        """One revision."""
        entry = await self._store.get(RECORDS, _name(revision))
        return _read(entry, Record)

    async def versions(self, record: Record) -> tuple[Versions, ...]:
        """The documents of a revision, in the order of its objects."""
        entry = await self._store.get(DOCUMENTS, _name(record.revision))
        found = _read(entry, tuple[Versions, ...])
        return tuple(Versions(left_out=True) for _ in record.objects) if found is None else found

    async def resources(self, revision: int) -> Resources | None:
        """What a revision changed of what proxies are given; None: nothing that is known."""
        entry = await self._store.get(RESOURCES, _name(revision))
        return _read(entry, Resources)

    async def heads(self) -> Mapping[str, Head]:
        """The latest known state of every object, by its key in the store."""
        _, entries = await self._store.list(OBJECTS)
        return {entry.key: found for entry in entries if (found := _read(entry, Head)) is not None}

    async def head(self, key: str) -> Head | None:
        """The latest known state of one object."""
        entry = await self._store.get(OBJECTS, key)
        return _read(entry, Head)

    async def catch_up(self) -> None:
        """Know what other control planes have written until now."""
        await self._store.write([])
        self._latest = 0

    async def add(self, record: Record, versions: Sequence[Versions], heads: Mapping[str, Head | None]) -> Record:
        """Write a new revision under the next number; `heads` by the objects' keys, None for those that are gone.
        ConflictError: another control plane has written one since this one has read, which may be the same."""
        documents = msgspec.json.encode(_within(versions, REVISION_BYTES))
        number = self._latest + 1 if self._latest else await self._next()
        numbered = msgspec.structs.replace(record, revision=number, size=len(documents) + 512)
        changes: list[Change] = [
            Put(RECORDS, _name(number), msgspec.json.encode(numbered)),
            Put(DOCUMENTS, _name(number), documents),
            *(_head_change(key, head, number) for key, head in heads.items()),
        ]
        try:
            await self._store.write(changes, {(RECORDS, _name(number)): 0})
        except ConflictError:
            self._latest = 0
            raise
        self._latest = number
        await self._trim()
        return numbered

    async def settle(self, record: Record, outcome: Outcome) -> Record:
        """Write what came of a revision."""
        settled = msgspec.structs.replace(record, outcome=outcome)
        await self._rewrite(settled)
        return settled

    async def add_resources(self, record: Record, resources: Resources) -> Record:
        """Write what a revision changed of what proxies are given."""
        value = msgspec.json.encode(resources)
        grown = msgspec.structs.replace(record, size=record.size + len(value))
        await self._store.write([Put(RESOURCES, _name(record.revision), value)])
        await self._rewrite(grown)
        return grown

    async def _rewrite(self, record: Record) -> None:
        """Write the listed part again, if it is still kept."""
        if await self._store.get(RECORDS, _name(record.revision)) is not None:
            await self._store.write([Put(RECORDS, _name(record.revision), msgspec.json.encode(record))])

    async def _next(self) -> int:
        _, entries = await self._store.list(RECORDS)
        return int(entries[-1].key) + 1 if entries else 1

    async def _trim(self) -> None:
        self._untrimmed += 1
        if self._untrimmed < _TRIM_AFTER:
            return
        self._untrimmed = 0
        _, entries = await self._store.list(RECORDS)
        total, gone = 0, []
        for index, entry in enumerate(reversed(entries)):
            one = _read(entry, Record)
            total += one.size if one is not None else REVISION_BYTES
            if index and (index >= self._keep or total > self._keep_bytes):
                gone.append(entry.key)
        if gone:
            await self._store.write([Delete(each, name) for name in gone for each in (RECORDS, DOCUMENTS, RESOURCES)])


def _within(versions: Sequence[Versions], most: int) -> tuple[Versions, ...]:
    """`versions` as long as they fit."""
    found, left = [], most
    for one in versions:
        left -= sum(len(each.text) + 24 * len(each.lines) for each in (one.before, one.after) if each is not None)
        found.append(one if left >= 0 else Versions(left_out=True))
    return tuple(found)


def _head_change(key: str, head: Head | None, revision: int) -> Change:
    if head is None:
        return Delete(OBJECTS, key)
    return Put(OBJECTS, key, msgspec.json.encode(msgspec.structs.replace(head, revision=revision)))


def _name(revision: int) -> str:
    return f"{revision:012d}"


def _read(entry: Entry | None, kind: type[KindT]) -> KindT | None:
    if entry is None:
        return None
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _say(entry.bucket, entry.key, str(error))
        return None


@lru_cache(1024)
def _say(bucket: str, key: str, error: str) -> None:
    """Once of each, however often it is looked at."""
    _log.warning("%s of revision or object %s cannot be read: %s", bucket, key, error)
