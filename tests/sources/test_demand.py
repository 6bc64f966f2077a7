"""What proxies asked for is kept: within bounds, by identity, over restarts and a store that is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from weft.model.workload import Workload
from weft.sources import demand as module
from weft.sources.demand import BUCKET, MAX_NAMES, Demand
from weft.store.memory import MemoryStore
from weft.store.protocol import Change, Put, StoreError
from weft.testing.polling import eventually

WEB = Workload("web", "shop", "web")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.02)


@contextlib.asynccontextmanager
async def running(store: MemoryStore, *registered: Workload) -> AsyncIterator[Demand]:
    known = {workload.proxy: workload for workload in registered}
    demand = Demand(store, known.get)
    await demand.load()
    task = asyncio.create_task(demand.run())
    yield demand
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def written(store: MemoryStore, check: Callable[[set[str]], bool]) -> None:
    async def checked() -> bool:
        return check({entry.key for entry in (await store.list(BUCKET))[1]})

    await eventually("it is written", checked)


async def test_it_outlasts_the_control_plane() -> None:
    store = MemoryStore()
    async with running(store, WEB) as demand:
        demand.asked(WEB, frozenset({"a", "b"}))
        await written(store, bool)
    async with running(store) as demand:
        assert demand.of(WEB) == {"a", "b"}


async def test_another_identity_that_takes_the_name_begins_anew() -> None:
    async with running(MemoryStore(), WEB) as demand:
        demand.asked(WEB, frozenset({"a"}))
        assert demand.of(Workload("web", "shop", "other")) == frozenset()
        assert demand.of(WEB) == {"a"}


async def test_one_proxy_is_remembered_a_bounded_number_of_names() -> None:
    async with running(MemoryStore(), WEB) as demand:
        for start in range(0, 3 * MAX_NAMES, 700):
            demand.asked(WEB, frozenset(map(str, range(start, start + 700))))
        assert len(demand.of(WEB)) == MAX_NAMES


async def test_of_many_proxies_those_that_are_gone_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY", 4)
    store = MemoryStore()
    async with running(store, WEB, Workload("w1", "shop", "new")) as demand:
        for number in range(5):
            demand.asked(Workload(f"w{number}", "shop", "old"), frozenset({"a"}))
        await written(store, lambda keys: not keys)
        demand.asked(WEB, frozenset({"a"}))
        await written(store, lambda keys: keys == {"web.shop/web"})


async def test_a_store_that_is_away_loses_nothing() -> None:
    class Broken(MemoryStore):
        tries = 0

        async def write(
            self,
            changes: Sequence[Change],
            expect: Mapping[tuple[str, str], int] | None = None,
            leases: Mapping[str, float] | None = None,
        ) -> int:
            self.tries += 1
            if self.tries < 3:
                raise StoreError("away")
            return await super().write(changes, expect, leases)

    store = Broken()
    async with running(store, WEB) as demand:
        demand.asked(WEB, frozenset({"a"}))
        await written(store, bool)


async def test_what_was_asked_for_at_another_replica_is_known() -> None:
    store = MemoryStore()
    async with running(store, WEB) as here, running(store, WEB) as there:
        there.asked(WEB, frozenset({"a", "b"}))
        await eventually("it is told", lambda: here.of(WEB) == {"a", "b"})


async def test_what_another_replica_wrote_meanwhile_is_kept() -> None:
    class Meanwhile(MemoryStore):
        """Another replica writes just before."""

        async def write(
            self,
            changes: Sequence[Change],
            expect: Mapping[tuple[str, str], int] | None = None,
            leases: Mapping[str, float] | None = None,
        ) -> int:
            if not (await self.list(BUCKET))[1]:
                await super().write([Put(BUCKET, "web.shop/web", b'["theirs"]')])
            return await super().write(changes, expect, leases)

    store = Meanwhile()
    async with running(store, WEB) as demand:
        demand.asked(WEB, frozenset({"ours"}))

        async def both() -> bool:
            return [entry.value for entry in (await store.list(BUCKET))[1]] == [b'["ours","theirs"]']

        await eventually("both are kept", both)
