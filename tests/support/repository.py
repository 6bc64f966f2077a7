"""A repository in memory that several shared stores of a test have, with an operator who may break what he likes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from weft.aio.cell import Cell
from weft.store.shared.repository import HeldHead, RepositoryError


@dataclass
class Disk:
    """What is kept. `turns` of the event loop pass in each call; `failures` are taken by the next writes of the head:
    ``before`` and ``after`` it was done, with no answer, ``away`` for one that was not done."""

    current: Cell[HeldHead | None] = field(default_factory=lambda: Cell(None))
    objects: dict[str, bytes] = field(default_factory=dict)
    turns: int = 1
    failures: list[str] = field(default_factory=list)
    watched: bool = True
    age: float = 0.0
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, data: bytes) -> str:
        version = str(next(self._versions))
        self.current.set(HeldHead(data, version))
        return version


class MemoryRepository:
    """One replica's way to a disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    @property
    def name(self) -> str:
        return "the disk"

    async def head(self) -> HeldHead | None:
        await self._pass()
        return self.disk.current.value

    async def replace(self, data: bytes, version: str) -> str | None:
        await self._pass()
        failure = self.disk.failures.pop(0) if self.disk.failures else ""
        if failure in ("before", "away"):
            raise RepositoryError("no answer", unknown=failure == "before")
        held = self.disk.current.value
        if (held.version if held is not None else "") != version:
            return None
        written = self.disk.write(data)
        await self._pass()
        if failure == "after":
            raise RepositoryError("no answer", unknown=True)
        return written

    async def create(self, name: str, data: bytes) -> None:
        await self._pass()
        assert name not in self.disk.objects
        self.disk.objects[name] = data

    async def read(self, name: str) -> bytes | None:
        await self._pass()
        return self.disk.objects.get(name)

    async def remove(self, name: str) -> None:
        await self._pass()
        self.disk.objects.pop(name, None)

    async def parts(self) -> dict[str, float]:
        await self._pass()
        return dict.fromkeys(self.disk.objects, self.disk.age)

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[HeldHead]]:
        yield self._heads(version)

    async def _heads(self, version: str) -> AsyncIterator[HeldHead]:
        seen = 0
        while True:
            seen = await self.disk.current.changed(seen)
            held = self.disk.current.value
            if self.disk.watched and held is not None and held.version != version:
                yield held

    async def _pass(self) -> None:
        for _ in range(self.disk.turns):
            await asyncio.sleep(0)
