"""Stores that share a repository: one order of writes, whatever fails, and leases that one replica renews."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.repository import Disk, MemoryRepository
from weft.aio.backoff import Backoff
from weft.store.protocol import CompactedError, ConflictError, Put, StoreError
from weft.store.shared.log import Sizes
from weft.store.shared.records import Head, head_from, packed
from weft.store.shared.repository import HeldHead
from weft.store.shared.state import MARGIN_SECONDS
from weft.store.shared.store import SharedStore
from weft.testing.polling import eventually

SMALL = Sizes(tail=200, parts=2)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def shared(
    disk: Disk, *names: str, clock: Callable[[], float] | None = None, sizes: Sizes = SMALL, keep: int = 100
) -> AsyncIterator[list[SharedStore]]:
    stores = [SharedStore(MemoryRepository(disk), name, clock or Clock(), keep, sizes, deadline=1.0) for name in names]
    for each in stores:
        await each.open()
    try:
        yield stores
    finally:
        for each in stores:
            await each.close()


async def everything(store: SharedStore, bucket: str = "b") -> tuple[int, dict[str, tuple[bytes, int, float]]]:
    revision, entries = await store.list(bucket)
    return revision, {each.key: (each.value, each.revision, each.created) for each in entries}


async def same(*stores: SharedStore) -> tuple[int, dict[str, tuple[bytes, int, float]]]:
    """What all hold, once they hold the same."""

    async def equal() -> bool:
        found = [await everything(each) for each in stores]
        return all(each == found[0] for each in found)

    await eventually("all hold the same", equal)
    return await everything(stores[0])


async def count(store: SharedStore, key: str) -> None:
    """Add one to a number, as a careful writer does."""
    while True:
        entry = await store.get("b", key)
        value, revision = (int(entry.value), entry.revision) if entry is not None else (0, 0)
        with contextlib.suppress(ConflictError):
            await store.write([Put("b", key, str(value + 1).encode())], {("b", key): revision})
            return


@settings(max_examples=40, deadline=None)
@given(
    failures=st.lists(st.sampled_from(["", "", "before", "after"]), max_size=12),
    turns=st.integers(0, 3),
    tail=st.sampled_from([50, 400, 5000]),
)
def test_no_update_is_lost_or_done_twice_whatever_answers_are_lost(failures: list[str], turns: int, tail: int) -> None:
    async def run() -> None:
        disk = Disk(turns=turns)
        async with shared(disk, "one", "two", "three", sizes=Sizes(tail, 2)) as stores:
            disk.failures = list(failures)
            await asyncio.gather(*(count(each, key) for each in stores for key in "xy" for _ in range(5)))
            revision, entries = await same(*stores)
            assert {key: value for key, (value, _, _) in entries.items()} == {"x": b"15", "y": b"15"}
            assert revision == 30, "one revision for each write"
            async with shared(disk, "four") as (late,):
                assert await everything(late) == (revision, entries)

    asyncio.run(run())


async def test_a_write_that_cannot_be_confirmed_says_so_and_reads_go_on() -> None:
    disk = Disk()
    async with shared(disk, "one") as (store,):
        await store.write([Put("b", "k", b"1")])
        disk.failures = ["away"]
        with pytest.raises(StoreError, match=r"^the disk: no answer$"):
            await store.write([Put("b", "k", b"2")])
        disk.failures = ["before"] * 1000
        with pytest.raises(StoreError, match="may have been written"):
            await store.write([Put("b", "k", b"3")])
        entry = await store.get("b", "k")
        assert entry is not None
        assert entry.value == b"1"
        disk.failures = []
        assert await store.write([Put("b", "k", b"4")]) == 2


async def test_who_missed_what_was_put_into_a_snapshot_reads_it_and_tells_who_follows() -> None:
    disk = Disk()
    async with shared(disk, "one", "slow") as (one, slow):
        first = await one.write([Put("b", "k", b"0" * 200)])
        await same(one, slow)
        disk.watched = False
        waiting = asyncio.create_task(slow.changes(first, 30))
        for number in range(20):
            await one.write([Put("b", "k", f"{number}".encode() * 200)])
        await one.forget()
        disk.watched = True
        await one.write([Put("b", "k", b"end")])
        with pytest.raises(CompactedError):
            await waiting
        await same(one, slow)
        await eventually("only what is named is left", lambda: len(disk.objects) < 5)


async def test_left_overs_are_removed_and_nothing_else() -> None:
    disk = Disk()
    async with shared(disk, "one") as (store,):
        disk.objects["log-7-dead-0"] = b"of one that was killed"
        await store.write([Put("b", f"k{number}", b"1" * 300) for number in range(3)])
        await store.forget()
        assert "log-7-dead-0" in disk.objects, "it may be about to be named"
        disk.age = 3600.0
        await store.write([Put("b", "k", b"2" * 300)])
        await store.forget()
        assert "log-7-dead-0" not in disk.objects
        async with shared(disk, "two") as (late,):
            assert await everything(late) == await everything(store)


async def test_a_value_of_many_objects_is_one_write() -> None:
    disk = Disk()
    async with shared(disk, "one", "two") as (one, two):
        values = [bytes((number * step) % 251 for number in range(600_000)) for step in range(1, 5)]
        noise = [bytes(a ^ b for a, b in zip(value, reversed(values[0]), strict=True)) for value in values]
        await one.write([Put("b", f"k{number}", value) for number, value in enumerate(noise)])
        revision, entries = await same(one, two)
        assert (revision, len(entries)) == (1, 4)


async def test_a_backup_that_was_put_back_is_followed() -> None:
    disk = Disk()
    async with shared(disk, "one", "two", sizes=Sizes()) as (one, two):
        await one.write([Put("b", "k", b"old")])
        held = disk.current.value
        assert held is not None
        await one.write([Put("b", "k", b"new")])
        await same(one, two)
        disk.write(held.data)
        for each in (one, two):
            await each.write([])
        revision, entries = await same(one, two)
        assert (revision, entries["k"][0]) == (1, b"old")
        assert await two.write([Put("b", "k", b"newer")]) == 2


async def test_what_another_version_has_written_is_refused() -> None:
    disk = Disk()
    disk.write(packed(Head("x", format=2)))
    with pytest.raises(StoreError, match=r"format 2.*too old"):
        async with shared(disk, "one"):
            pass
    with pytest.raises(StoreError, match="damaged"):
        head_from(b"nonsense")


async def test_a_lease_belongs_to_who_renewed_it_last() -> None:
    disk, clock = Disk(), Clock()
    place = ("workloads", "ns/a")
    async with shared(disk, "one", "two", clock=clock) as (one, two):
        await one.write([Put(*place, b"{}")], leases={"ns/a": 1010.0})
        await eventually("both know", lambda: two.get(*place))
        writes = disk.current.version
        clock.now = 1009.0
        await one.extend({"ns/a": 1020.0})
        assert disk.current.version == writes, "who has it renews it without a write"
        clock.now = 1015.0
        assert await two.expire(clock.now) == ((), 1010.0 + MARGIN_SECONDS), "another waits a margin longer"
        assert await two.extend({"ns/a": 1030.0}) == frozenset()
        assert disk.current.version == writes + 1, "to take it over is written"
        await eventually("the first knows", lambda: _ends(one, 1030.0 + MARGIN_SECONDS))
        clock.now = 1021.0
        assert (await one.expire(clock.now))[0] == ()
        clock.now = 1031.0
        assert (await two.expire(clock.now))[0] == ("ns/a",)
        await eventually("it is gone", lambda: _gone(one, place))


async def _ends(store: SharedStore, when: float) -> bool:
    return (await store.leases())["ns/a"] == when


async def _gone(store: SharedStore, place: tuple[str, str]) -> bool:
    return await store.get(*place) is None


async def test_leases_that_were_renewed_outlast_a_state_that_is_read_anew() -> None:
    disk, clock = Disk(), Clock()
    async with shared(disk, "one", "two", clock=clock) as (one, two):
        await one.write([Put("workloads", "ns/a", b"{}")], leases={"ns/a": 1010.0})
        await same(one, two)
        disk.watched = False
        await one.extend({"ns/a": 1025.0})
        for number in range(20):
            await two.write([Put("b", "k", f"{number}".encode() * 200)])
        await two.forget()
        await one.write([])
        await same(one, two)
        clock.now = 1020.0
        assert (await one.expire(clock.now))[0] == ()
        assert (await one.expire(1025.0))[0] == ("ns/a",)


async def test_leases_of_a_replica_that_died_end_a_margin_later() -> None:
    disk, clock = Disk(), Clock()
    async with shared(disk, "two", clock=clock) as (two,):
        async with shared(disk, "one", clock=clock) as (one,):
            await one.write([Put("workloads", "ns/a", b"{}")], leases={"ns/a": 1010.0})
            await one.extend({"ns/a": 1025.0})
            clock.now = 1010.0 + MARGIN_SECONDS / 3 + 1
            await one.write([Put("b", "k", b"")])  # with any write, or by itself within seconds
            await eventually("the longer lease is written down", lambda: _ends(two, 1025.0 + MARGIN_SECONDS))
        clock.now = 1025.0 + MARGIN_SECONDS
        assert (await two.expire(clock.now - 1))[0] == ()
        assert (await two.expire(clock.now))[0] == ("ns/a",)


async def test_two_who_shorten_the_log_are_both_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both snapshots are ready while a write is under way."""
    async with shared(Disk(), "a") as (store,):
        await store.write([Put("b", "k", b"v")])
        replace, goes_on = store._repository.replace, asyncio.Event()

        async def slow(data: bytes, version: str) -> str | None:
            await goes_on.wait()
            return await replace(data, version)

        monkeypatch.setattr(store._repository, "replace", slow)
        writing = asyncio.create_task(store.write([Put("b", "other", b"v")]))
        shortening = [asyncio.create_task(store.forget()) for _ in range(2)]
        await eventually("both are ready", lambda: len(store._made) == 2)
        goes_on.set()
        async with asyncio.timeout(30):
            await asyncio.gather(writing, *shortening)


async def test_a_fault_in_one_turn_ends_no_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is told to who asked, and the next write is done."""
    async with shared(Disk(), "a") as (store,):
        await store.write([Put("b", "k", b"v")])

        async def broken(*_: object) -> bool:
            raise ValueError("unforeseen")

        with monkeypatch.context() as patch:
            patch.setattr(store._log, "shorten", broken)
            with pytest.raises(StoreError):
                async with asyncio.timeout(30):
                    await store.forget()
        with monkeypatch.context() as patch:
            patch.setattr(store._log, "told", broken)
            await store.write([Put("b", "k", b"w")])
        async with asyncio.timeout(30):
            await store.write([Put("b", "k", b"x")])


async def test_who_cannot_forget_is_told_and_nothing_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are always faster."""
    disk = Disk()
    async with shared(disk, "a") as (store,):
        await store.write([Put("b", "k", b"v")])
        before = set(disk.objects)

        async def late(*_: object) -> None:
            return None

        with monkeypatch.context() as patch:
            patch.setattr(store._repository, "replace", late)
            with pytest.raises(StoreError, match="other control planes write all the time"):
                await store.forget()
        assert set(disk.objects) == before
        await store.forget()


async def test_a_watch_that_ends_by_itself_is_begun_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """API servers end watches after minutes, in which nothing may have changed."""
    pauses: list[float] = []

    class Told(Backoff):
        def next(self, at_least: float = 0.0) -> float:
            pauses.append(super().next(at_least))
            return 0.001

        def lasted(self, seconds: float) -> None:
            super().lasted(seconds + 300.0)

    @contextlib.asynccontextmanager
    async def ends(_: str) -> AsyncIterator[AsyncIterator[HeldHead]]:
        yield nothing()

    async def nothing() -> AsyncIterator[HeldHead]:
        heads: tuple[HeldHead, ...] = ()
        for each in heads:
            yield each

    monkeypatch.setattr("weft.store.shared.store.Backoff", Told)
    repository = MemoryRepository(Disk())
    monkeypatch.setattr(repository, "watch", ends)
    store = SharedStore(repository, "a", Clock(), 100, SMALL)
    await store.open()
    try:
        await eventually("it watched often", lambda: len(pauses) >= 10)
    finally:
        await store.close()
    assert max(pauses) <= 0.2
