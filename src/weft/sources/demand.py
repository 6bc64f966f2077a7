"""Demand: which clusters proxies asked for, kept with their registrations, so that they need not ask again.

A proxy that says nothing about what it uses is told about a service when it first needs it. What it needed
once it will need again: after a restart it is given that at once. It is what the proxy asked for and nothing that the
control plane found out, and it changes when a proxy is told something, never what it may be told. A proxy may come to
another replica of the control plane: each knows what was asked for at the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import msgspec

from weft.aio.holdoff import HoldOff
from weft.model.workload import Workload
from weft.sources.following import follow_bucket
from weft.store.protocol import Delete, Entry, Put, Store, StoreError

BUCKET = "demand"
MAX_NAMES = 1000
"""Of one proxy. One that asks for more is given the others when it asks again."""
_MANY = 256
"""Proxies."""
_QUIET_SECONDS = 0.5
_LONGEST_SECONDS = 2.0


class Demand:
    """What proxies asked for. `run` writes it down; what was not written yet is asked for once more. It outlasts a
    registration that ends and comes back, but not the identity: who takes the name over begins anew. Of proxies that do
    not come back, those are dropped that `registered` does not know, when they have become many."""

    def __init__(self, store: Store, registered: Callable[[str], Workload | None]) -> None:
        self._store = store
        self._registered = registered
        self._most = _MANY
        self._names: dict[str, frozenset[str]] = {}
        self._unwritten: set[str] = set()
        self._hold = HoldOff(_QUIET_SECONDS, _LONGEST_SECONDS)

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """The proxy of a workload asked for these clusters."""
        key = _key(workload)
        if self._add(key, names):
            self._unwritten.add(key)
            self._hold.poke()

    def of(self, workload: Workload) -> frozenset[str]:
        """What the proxy of a workload asked for in earlier times."""
        return self._names.get(_key(workload), frozenset())

    async def load(self) -> None:
        """Read what was kept. StoreError if it cannot be."""
        _, entries = await self._store.list(BUCKET)
        self._merge(entries)

    async def run(self) -> None:
        """Write down what is new, and learn what others write, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._keep())

    async def _follow(self) -> None:
        async for change in follow_bucket(self._store, BUCKET):
            self._merge(change.entries)
            for key in change.gone:
                if not self._is_registered(key):
                    self._names.pop(key, None)

    async def _keep(self) -> None:
        while True:
            await self._hold.wait()
            self._prune()
            keys, self._unwritten = self._unwritten, set()
            try:
                await self._write(sorted(keys))
            except StoreError:
                self._unwritten |= keys
                await asyncio.sleep(_LONGEST_SECONDS)
                self._hold.poke()

    async def _write(self, keys: list[str]) -> None:
        """Beside what others have written. StoreError, also if they write at the same time."""
        _, entries = await self._store.read(BUCKET, keys)
        self._merge(entry for entry in entries if entry.key in self._names)
        expected = {(BUCKET, key): 0 for key in keys} | {(BUCKET, entry.key): entry.revision for entry in entries}
        await self._store.write([self._change(key) for key in keys], expected)

    def _merge(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            with contextlib.suppress(msgspec.DecodeError):
                self._add(entry.key, frozenset(msgspec.json.decode(entry.value, type=tuple[str, ...])))

    def _add(self, key: str, names: frozenset[str]) -> bool:
        """Whether any of these is new, and there is room for it."""
        known = self._names.get(key, frozenset())
        fresh = names - known
        if not fresh or len(known) >= MAX_NAMES:
            return False
        self._names[key] = known | frozenset(sorted(fresh)[: MAX_NAMES - len(known)])
        return True

    def _prune(self) -> None:
        if len(self._names) <= self._most:
            return
        gone = [key for key in self._names if not self._is_registered(key)]
        for key in gone:
            del self._names[key]
        self._unwritten.update(gone)
        self._most = max(_MANY, 2 * len(self._names))

    def _is_registered(self, key: str) -> bool:
        workload = self._registered(key.partition("/")[0])
        return workload is not None and _key(workload) == key

    def _change(self, key: str) -> Put | Delete:
        names = self._names.get(key)
        if names is None:
            return Delete(BUCKET, key)
        return Put(BUCKET, key, msgspec.json.encode(sorted(names)))


def _key(workload: Workload) -> str:
    """The proxy and its identity, whose namespace is part of the name."""
    return f"{workload.proxy}/{workload.service_account}"
