"""The log of batches in a repository: read up to its end, added to by who has read that far, and made short again.

A batch counts from the moment at which the head is replaced by one that holds it, or that names the part which does.
Who replaces the head has read it in its last version, so there is one order, and nothing is lost or written twice.
Parts are made before they are named and removed after; what nobody names is left over by who was killed in between.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from weft.store.protocol import StoreError
from weft.store.shared.records import (
    Batch,
    Everything,
    Head,
    Part,
    Snapshot,
    chunks,
    head_from,
    packed,
    size_of,
    unpacked,
)
from weft.store.shared.repository import HeldHead, Repository, RepositoryError
from weft.store.shared.state import State

TAIL_BYTES = 24 * 1024
"""So much of the log is in the head, which each write replaces."""
MOST_PARTS = 40
"""After which a snapshot is made: about a megabyte of log."""
LEFT_OVER_SECONDS = 600.0
"""After which a part that nobody names is removed."""
_READS = 8
ValueT = TypeVar("ValueT")
_log = logging.getLogger("weft.store")


@dataclass(frozen=True, slots=True)
class Sizes:
    """When the log moves from the head to parts, and from parts to a snapshot."""

    tail: int = TAIL_BYTES
    parts: int = MOST_PARTS


USUAL = Sizes()


class _MovedError(Exception):
    """A part is not there any more: the head has moved on."""


class SharedLog:
    """One replica's reading of the log. One task uses it. Every method raises StoreError or RepositoryError."""

    def __init__(self, repository: Repository, fresh: Callable[[], State], sizes: Sizes) -> None:
        self.repository = repository
        self._fresh = fresh
        self._sizes = sizes
        self._head = Head("")
        self.version = ""
        self.state = fresh()

    @property
    def long(self) -> bool:
        """Whether a snapshot would make it shorter."""
        return len(self._head.parts) > self._sizes.parts

    async def open(self) -> None:
        """Read everything; make the head if there is none."""
        if not await self.refresh():
            head = Head(secrets.token_hex(8))
            await self.repository.replace(packed(head), "")
            if not await self.refresh():
                raise RepositoryError(f"{self.repository.name} was removed")

    async def refresh(self) -> bool:
        """Read up to the end as it is now; False if there is no head."""
        for _ in range(_READS):
            held = await self.repository.head()
            if held is None:
                return False
            if held.version == self.version:
                return True
            try:
                await self._follow(head_from(held.data))
            except _MovedError:
                continue
            self.version = held.version
            return True
        raise RepositoryError(f"{self.repository.name} changes faster than it can be read")

    async def told(self, held: HeldHead) -> None:
        """Follow a head that a watch told, unless it is an old one."""
        head = head_from(held.data)
        if head.lineage == self._head.lineage and head.index <= self.state.index:
            return
        try:
            await self._follow(head)
            self.version = held.version
        except _MovedError:
            await self.refresh()

    async def _follow(self, head: Head) -> None:
        """Apply what is new. A head that is older, or another one, is that of a backup: everything is read anew."""
        state = self.state
        anew = head.lineage != self._head.lineage or head.index < state.index
        first = head.snapshot.index if head.snapshot is not None else 0
        batches: list[Batch] = []
        if anew or state.index < first:
            state = self._fresh()
            if head.snapshot is not None:
                state.restore(await self._read(head.snapshot.names, Everything))
            if self.version:
                _log.warning("%s has moved on, or is another one: it is read anew", self.repository.name)
        for part in head.parts:
            if part.last > state.index:
                batches += await self._read(part.names, tuple[Batch, ...])
        for batch in (*batches, *head.tail):
            if batch.index <= state.index:
                continue
            if batch.index != state.index + 1:
                raise StoreError(f"{self.repository.name} is damaged: batch {state.index + 1} is missing")
            state.apply(batch)
        if state is not self.state:
            state.renewed_in(self.state)
        self.state, self._head = state, head

    async def _read(self, names: Sequence[str], kind: type[ValueT]) -> ValueT:
        data = bytearray()
        for name in names:
            piece = await self.repository.read(name)
            if piece is None:
                raise _MovedError
            data += piece
        return await asyncio.to_thread(unpacked, bytes(data), kind)

    # writing

    async def add(self, batches: Sequence[Batch]) -> bool:
        """Write batches that follow the state, and apply them; False if another replica was faster."""
        head = self._head
        made: tuple[str, ...] = ()
        tail = (*head.tail, *batches)
        after = Head(head.lineage, batches[-1].index, head.snapshot, head.parts, tail)
        if size_of(tail) > self._sizes.tail:
            part = Part(tail[0].index, tail[-1].index, await self._keep("log", tail[-1].index, tail))
            made = part.names
            after = Head(head.lineage, batches[-1].index, head.snapshot, (*head.parts, part))
        if not await self._replace(after, made):
            return False
        for batch in batches:
            self.state.apply(batch)
        return True

    async def shorten(self, made: Everything, names: tuple[str, ...]) -> bool:
        """Put a snapshot that was kept under `names` in the place of the parts before it; False if another replica was
        faster."""
        head = self._head
        if head.snapshot is not None and head.snapshot.index >= made.index:
            await self._remove(names)
            return True
        parts = tuple(part for part in head.parts if part.last > made.index)
        after = Head(head.lineage, head.index, Snapshot(made.index, names), parts, head.tail)
        if not await self._replace(after, ()):
            return False
        await self._remove(sorted(head.names - after.names))
        left = [name for name, age in (await self.repository.parts()).items() if age > LEFT_OVER_SECONDS]
        await self._remove([name for name in left if name not in after.names])
        return True

    async def keep_snapshot(self, made: Everything) -> tuple[str, ...]:
        """Write a snapshot down, so that it can be put in place."""
        return await self._keep("snapshot", made.index, made)

    async def drop(self, names: Sequence[str]) -> None:
        """Remove a snapshot that was not put in place."""
        await self._remove(names)

    async def _replace(self, after: Head, made: tuple[str, ...]) -> bool:
        version = await self.repository.replace(packed(after), self.version)
        if version is None:
            await self._remove(made)
            return False
        self._head, self.version = after, version
        return True

    async def _keep(self, what: str, index: int, value: Everything | tuple[Batch, ...]) -> tuple[str, ...]:
        data = await asyncio.to_thread(packed, value)
        stem, names = f"{what}-{index}-{secrets.token_hex(4)}", []
        for number, piece in enumerate(chunks(data)):
            names.append(f"{stem}-{number}")
            await self.repository.create(names[-1], piece)
        return tuple(names)

    async def _remove(self, names: Sequence[str]) -> None:
        """Remove what nobody names; what cannot be removed now is removed later."""
        for name in names:
            try:
                await self.repository.remove(name)
            except RepositoryError as error:
                _log.debug("%s stays for now: %s", name, error)
                return
