"""Registered workloads of the store, and the end of their leases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from weft.aio.cell import Cell
from weft.model.workload import Workload
from weft.sources.contents import Contents, source_problem
from weft.sources.following import follow_bucket
from weft.store.protocol import LEASED_BUCKET, Delete, Put, Store, StoreError

DEFAULT_LEASE_SECONDS = 15.0


def workload_key(namespace: str, name: str) -> str:
    """The store key of a registration, which is also its lease key."""
    return f"{namespace}/{name}"


def put_workload(workload: Workload) -> Put:
    """The write that stores `workload`."""
    return Put(LEASED_BUCKET, workload_key(workload.namespace, workload.name), msgspec.json.encode(workload))


def workload_from_value(value: bytes) -> Workload:
    """A stored registration; msgspec.DecodeError if it is not one."""
    return msgspec.json.decode(value, type=Workload)


class WorkloadsSource:
    """The registered workloads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Follow the store for ever."""
        known: dict[str, tuple[int, Workload]] = {}
        async for state in follow_bucket(self._store, LEASED_BUCKET):
            fresh = {}
            problems = []
            for entry in state.entries:
                held = known.get(entry.key)
                if held is None or held[0] != entry.revision:
                    try:
                        workload = workload_from_value(entry.value)
                    except msgspec.DecodeError:
                        text = f"the registration {entry.key} cannot be decoded; restart its agent"
                        problems.append(source_problem("registration-damaged", text, "store"))
                        continue
                    held = (entry.revision, held[1] if held and held[1] == workload else workload)
                fresh[entry.key] = held
            known = fresh
            workloads = sorted((one for _, one in known.values()), key=lambda one: (one.namespace, one.name))
            contents = Contents(workloads=tuple(workloads), problems=tuple(problems), store_revision=state.revision)
            self._contents.set(contents)


class LeaseExpiry:
    """Ends registrations whose lease has run out.

    No lease ends before one `ttl` has passed since the start, nor since a moment in which this process did not run
    (a suspended laptop, a stopped process): agents could not renew then.
    """

    def __init__(
        self, store: Store, ttl: float = DEFAULT_LEASE_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._awake = self._last = clock()

    async def run(self) -> None:
        """Look for ended leases for ever."""
        interval = min(0.5, self._ttl / 20)
        while True:
            await asyncio.sleep(interval)
            try:
                await self.expire()
            except StoreError:
                continue  # the sources and the health check tell; nothing ends while the store is away

    async def expire(self) -> tuple[str, ...]:
        """End what has run out by now; the keys of what was ended."""
        now = self._clock()
        if not 0 <= now - self._last < self._ttl / 2:
            self._awake = now
        self._last = now
        grace = self._awake + self._ttl
        if now < grace:
            return ()
        leases = await self._store.leases()
        _, entries = await self._store.list(LEASED_BUCKET)
        ended = [one for one in entries if max(grace, leases.get(one.key, one.created + self._ttl)) <= now]
        if ended:
            expected = {(one.bucket, one.key): one.revision for one in ended}
            await self._store.write([Delete(LEASED_BUCKET, one.key) for one in ended], expected)
        return tuple(one.key for one in ended)
