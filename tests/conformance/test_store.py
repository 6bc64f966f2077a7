"""What every Store must do; each back end is one parameter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from weft.store.memory import MemoryStore
from weft.store.protocol import CompactedError, ConflictError, Delete, Put, Store
from weft.store.sqlite import open_sqlite

KEEP = 5


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    makers: dict[str, Callable[[], Awaitable[Store]]] = {
        "memory": lambda: _memory(clock),
        "sqlite": lambda: open_sqlite(tmp_path / "weft.db", clock, KEEP),
    }
    store = await makers[request.param]()
    yield store
    await store.close()


async def _memory(clock: Clock) -> Store:
    return MemoryStore(clock, KEEP)


async def test_empty(store: Store) -> None:
    assert await store.get("b", "k") is None
    assert await store.list("b") == (0, ())
    assert await store.leases() == {}


async def test_put_get_list_delete(store: Store, clock: Clock) -> None:
    assert await store.write([Put("b", "z", b"1"), Put("b", "a", b"\x00\xff"), Put("other", "a", b"x")]) == 1
    clock.now = 2000.0
    assert await store.write([Put("b", "z", b"2")]) == 2
    entry = await store.get("b", "z")
    assert entry is not None
    assert (entry.bucket, entry.key, entry.value, entry.revision, entry.created) == ("b", "z", b"2", 2, 1000.0)
    revision, entries = await store.list("b")
    assert revision == 2
    assert [(entry.key, entry.value) for entry in entries] == [("a", b"\x00\xff"), ("z", b"2")]
    assert await store.write([Delete("b", "z")]) == 3
    assert await store.get("b", "z") is None


async def test_created_starts_anew_after_a_deletion(store: Store, clock: Clock) -> None:
    await store.write([Put("b", "k", b"1")])
    await store.write([Delete("b", "k")])
    clock.now = 3000.0
    await store.write([Put("b", "k", b"1")])
    entry = await store.get("b", "k")
    assert entry is not None
    assert entry.created == 3000.0


async def test_a_batch_that_changes_nothing_keeps_the_revision(store: Store) -> None:
    await store.write([Put("b", "k", b"1")])
    assert await store.write([Put("b", "k", b"1"), Delete("b", "absent")]) == 1
    assert await store.write([]) == 1
    entry = await store.get("b", "k")
    assert entry is not None
    assert entry.revision == 1


async def test_the_last_change_of_a_key_counts(store: Store) -> None:
    assert (
        await store.write([Put("b", "k", b"1"), Put("b", "k", b"2"), Put("b", "gone", b""), Delete("b", "gone")]) == 1
    )
    _, entries = await store.list("b")
    assert [(entry.key, entry.value) for entry in entries] == [("k", b"2")]
    assert await store.changes(0, 0) == (1, (("b", "k"),))


async def test_expectations(store: Store) -> None:
    assert await store.write([Put("b", "k", b"1")], {("b", "k"): 0}) == 1
    for wrong in (0, 2):
        with pytest.raises(ConflictError, match="revision 1"):
            await store.write([Put("b", "k", b"2"), Put("b", "new", b"")], {("b", "k"): wrong})
    assert await store.get("b", "new") is None
    assert await store.write([Put("b", "k", b"2")], {("b", "k"): 1}) == 2


async def test_concurrent_expectations_let_one_through(store: Store) -> None:
    async def attempt(number: int) -> bool:
        try:
            await store.write([Put("b", "k", str(number).encode())], {("b", "k"): 0})
        except ConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(number) for number in range(20)))) == 1
    assert (await store.list("b"))[0] == 1


async def test_changes_tells_each_key_once(store: Store) -> None:
    await store.write([Put("b", "k", b"1")])
    await store.write([Put("b", "k", b"2"), Put("c", "x", b"")])
    await store.write([Delete("c", "x")])
    assert await store.changes(0, 0) == (3, (("b", "k"), ("c", "x")))
    assert await store.changes(2, 0) == (3, (("c", "x"),))
    assert await store.changes(3, 0) == (3, ())


async def test_changes_waits(store: Store) -> None:
    waiting = asyncio.create_task(store.changes(0, 10))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await store.write([Put("b", "k", b"1")])
    assert await asyncio.wait_for(waiting, 2) == (1, (("b", "k"),))


async def test_changes_gives_up_after_its_timeout(store: Store) -> None:
    async with asyncio.timeout(2):
        assert await store.changes(0, 0.02) == (0, ())


async def test_compaction(store: Store) -> None:
    for number in range(KEEP + 2):
        await store.write([Put("b", f"k{number}", b"")])
    head = KEEP + 2
    revision, places = await store.changes(head - KEEP, 0)
    assert (revision, len(places)) == (head, KEEP)
    with pytest.raises(CompactedError):
        await store.changes(head - KEEP - 1, 0)
    assert len((await store.list("b"))[1]) == head


async def test_an_unknown_future_revision_is_refused_at_once(store: Store) -> None:
    with pytest.raises(CompactedError):
        async with asyncio.timeout(2):
            await store.changes(7, 10)


async def test_leases_belong_to_workloads(store: Store) -> None:
    await store.write([Put("workloads", "ns/a", b"{}"), Put("workloads", "ns/b", b"{}")])
    await store.extend({"ns/a": 10.0, "ns/b": 11.0, "ns/unknown": 12.0})
    assert await store.leases() == {"ns/a": 10.0, "ns/b": 11.0}
    await store.extend({"ns/a": 20.0})
    assert (await store.leases())["ns/a"] == 20.0
    assert (await store.list("workloads"))[0] == 1, "renewals make no revision"
    await store.write([Delete("workloads", "ns/a")])
    await store.extend({"ns/a": 30.0})
    assert await store.leases() == {"ns/b": 11.0}
