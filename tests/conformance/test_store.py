"""What every Store must do; each back end is one parameter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from support.repository import Disk, MemoryRepository
from weft.store.memory import MemoryStore
from weft.store.metered import MeteredStore
from weft.store.protocol import CompactedError, ConflictError, Delete, Put, Store
from weft.store.sealing.sealed import SealedStore
from weft.store.sealing.wrappers import EnvironmentWrapper
from weft.store.shared.log import Sizes
from weft.store.shared.store import SharedStore
from weft.store.sqlite import open_sqlite

KEEP = 5


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "metered", "sealed", "shared"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    makers: dict[str, Callable[[], Awaitable[Store]]] = {
        "memory": lambda: _memory(clock),
        "metered": lambda: _metered(clock),
        "sealed": lambda: _sealed(clock),
        "shared": lambda: _shared(clock),
        "sqlite": lambda: open_sqlite(tmp_path / "weft.db", clock, KEEP),
    }
    store = await makers[request.param]()
    yield store
    await store.close()


async def _metered(clock: Clock) -> Store:
    return MeteredStore(MemoryStore(clock, KEEP), lambda _seconds, _operation: None)


async def _sealed(clock: Clock) -> Store:
    """What is no secret passes through; `tests/store/test_sealed.py` has those that are."""
    return SealedStore(MemoryStore(clock, KEEP), EnvironmentWrapper("KEY", {"KEY": "00" * 32}), {}, clock)


async def _shared(clock: Clock) -> Store:
    """With much in parts and snapshots; `tests/kubernetes/test_shared_store.py` has it on an API server."""
    store = SharedStore(MemoryRepository(Disk()), "one", clock, KEEP, Sizes(tail=100, parts=2))
    await store.open()
    return store


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
    await asyncio.sleep(0)
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


async def test_read_gives_the_entries_named(store: Store) -> None:
    await store.write([Put("b", key, key.encode()) for key in "zabc"])
    await store.write([Put("other", "a", b"")])
    revision, entries = await store.read("b", ["z", "a", "absent", "a"])
    assert revision == 2
    assert [(entry.key, entry.value, entry.revision) for entry in entries] == [("a", b"a", 1), ("z", b"z", 1)]
    assert await store.read("b", []) == (2, ())
    many = [f"k{number:04}" for number in range(1200)]
    await store.write([Put("b", key, b"") for key in many])
    assert [entry.key for entry in (await store.read("b", many))[1]] == many


async def test_leases_belong_to_workloads(store: Store, clock: Clock) -> None:
    await store.write([Put("workloads", "ns/a", b"{}"), Put("workloads", "ns/b", b"{}")], leases={"ns/a": 9.0})
    assert await store.leases() == {"ns/a": 9.0, "ns/b": clock.now}, "without one, a lease is over at once"
    assert await store.extend({"ns/a": 10.0, "ns/b": 11.0, "ns/unknown": 12.0}) == {"ns/unknown"}
    assert await store.leases() == {"ns/a": 10.0, "ns/b": 11.0}
    assert await store.leases(["ns/b", "ns/unknown"]) == {"ns/b": 11.0}
    assert await store.extend({"ns/a": 20.0}) == frozenset()
    assert (await store.leases())["ns/a"] == 20.0
    assert (await store.list("workloads"))[0] == 1, "renewals make no revision"
    await store.write([Put("workloads", "ns/a", b"{}")], leases={"ns/a": 21.0})
    assert (await store.leases())["ns/a"] == 21.0
    assert (await store.list("workloads"))[0] == 1
    await store.write([Delete("workloads", "ns/a")])
    assert await store.extend({"ns/a": 30.0}) == {"ns/a"}
    assert await store.leases() == {"ns/b": 11.0}


async def test_a_refused_write_leaves_the_lease_alone(store: Store) -> None:
    await store.write([Put("workloads", "ns/a", b"1")], leases={"ns/a": 10.0})
    with pytest.raises(ConflictError):
        await store.write([Put("workloads", "ns/a", b"2")], {("workloads", "ns/a"): 0}, {"ns/a": 99.0})
    assert await store.leases() == {"ns/a": 10.0}


async def test_leases_that_are_over_end_in_one_step(store: Store) -> None:
    names = ("ns/a", "ns/b", "ns/c")
    leases = {"ns/a": 10.0, "ns/b": 20.0, "ns/c": 30.0}
    await store.write([Put("workloads", key, b"{}") for key in names], leases=leases)
    await store.write([Put("other", "ns/a", b"")])
    assert await store.expire(9.9) == ((), 10.0)
    assert (await store.list("workloads"))[0] == 2, "nothing has ended: no revision"
    assert await store.expire(20.0) == (("ns/a", "ns/b"), 30.0)
    assert await store.changes(2, 0) == (3, (("workloads", "ns/a"), ("workloads", "ns/b")))
    assert [entry.key for entry in (await store.list("workloads"))[1]] == ["ns/c"]
    assert await store.get("other", "ns/a") is not None
    assert await store.expire(30.0) == (("ns/c",), float("inf"))
    assert await store.expire(99.0) == ((), float("inf"))


async def test_a_renewed_lease_does_not_end(store: Store) -> None:
    """Neither a renewal, nor a registration with the same value, which makes no revision."""
    names = ("ns/renewed", "ns/registered", "ns/dead", "ns/shortened")
    leases = dict.fromkeys(names, 10.0) | {"ns/shortened": 90.0}
    await store.write([Put("workloads", key, b"{}") for key in names], leases=leases)
    assert await store.expire(5.0) == ((), 10.0)
    await store.extend({"ns/renewed": 30.0, "ns/shortened": 12.0})
    await store.write([Put("workloads", "ns/registered", b"{}")], leases={"ns/registered": 31.0})
    keys, first = await store.expire(15.0)
    assert (set(keys), first) == ({"ns/dead", "ns/shortened"}, 30.0)
    assert [entry.key for entry in (await store.list("workloads"))[1]] == ["ns/registered", "ns/renewed"]


async def test_renewals_that_race_with_the_end_are_kept_or_told(store: Store) -> None:
    """Whoever is told that the lease was renewed is still registered afterwards; the others are told that it ended."""
    names = [f"ns/w{number}" for number in range(50)]
    await store.write([Put("workloads", key, b"{}") for key in names], leases=dict.fromkeys(names, 10.0))

    async def renew(key: str, turns: int) -> bool:
        for _ in range(turns):
            await asyncio.sleep(0)
        if key in names[-5:]:
            await asyncio.wait([ending])
        return key not in await store.extend({key: 50.0})

    renewals = [renew(key, number % 5) for number, key in enumerate(names)]

    async def end() -> tuple[tuple[str, ...], float]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await store.expire(20.0)

    ending = asyncio.ensure_future(end())
    kept = await asyncio.gather(*renewals)
    ended, _ = await ending
    held = {entry.key for entry in (await store.list("workloads"))[1]}
    assert {key for key, renewed in zip(names, kept, strict=True) if renewed} == held
    assert set(ended) == set(names) - held
    assert ended
    assert held


async def test_a_lease_begins_anew_with_its_entry(store: Store) -> None:
    for end in (10.0, 20.0, 15.0):
        await store.write([Put("workloads", "ns/a", b"{}")], leases={"ns/a": end})
        assert await store.expire(end - 1) == ((), end)
        await store.write([Delete("workloads", "ns/a")])
        assert await store.expire(99.0) == ((), float("inf"))


async def test_expiry_is_watched(store: Store) -> None:
    revision = await store.write([Put("workloads", "ns/a", b"{}")], leases={"ns/a": 10.0})
    waiting = asyncio.create_task(store.changes(revision, 10))
    await store.expire(10.0)
    assert await asyncio.wait_for(waiting, 2) == (revision + 1, (("workloads", "ns/a"),))
