"""What `follow_bucket` hands on, and how it is mirrored."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.virtual_time import in_virtual_time
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources import following
from weft.sources.following import BucketChange, follow_bucket
from weft.sources.mirror import Mirror
from weft.store.memory import MemoryStore
from weft.store.protocol import Delete, Entry, Put, StoreError


class Watched(MemoryStore):
    """Counts what is read; can be broken, and written to between two reads."""

    def __init__(self, keep: int = 100) -> None:
        super().__init__(keep=keep)
        self.listed = 0
        self.read_keys = 0
        self.between: list[Put] = []
        self.broken = False

    async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
        if self.broken:
            raise StoreError("away")
        self.listed += 1
        return await super().list(bucket)

    async def read(self, bucket: str, keys: Collection[str]) -> tuple[int, tuple[Entry, ...]]:
        self.read_keys += len(keys)
        between, self.between = self.between, []
        if between:
            await self.write(between)
        return await super().read(bucket, keys)

    async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        if self.broken:
            raise StoreError("away")
        return await super().changes(after, timeout)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.01)


async def take(changes: AsyncIterator[BucketChange]) -> BucketChange:
    async with asyncio.timeout(60):
        return await anext(changes)


def shown(change: BucketChange) -> tuple[int, list[tuple[str, bytes]], tuple[str, ...], bool]:
    return change.revision, [(one.key, one.value) for one in change.entries], change.gone, change.whole


async def test_first_everything_then_what_changed() -> None:
    store = Watched()
    await store.write([Put("b", key, b"1") for key in "abc"])
    changes = follow_bucket(store, "b")
    assert shown(await take(changes)) == (1, [("a", b"1"), ("b", b"1"), ("c", b"1")], (), True)
    await store.write([Put("b", "b", b"2"), Delete("b", "a"), Put("b", "d", b"1")])
    assert shown(await take(changes)) == (2, [("b", b"2"), ("d", b"1")], ("a",), False)
    await store.write([Put("other", "a", b"")])
    assert shown(await take(changes)) == (3, [], (), False)
    await store.write([Put("b", "e", b"1")])
    await store.write([Delete("b", "e")])
    assert shown(await take(changes)) == (5, [], ("e",), False)
    assert (store.listed, store.read_keys) == (1, 4)


async def test_a_batch_is_never_seen_in_part() -> None:
    store = Watched()
    await store.write([Put("b", key, b"1") for key in "ab"])
    changes = follow_bucket(store, "b")
    await take(changes)
    store.between = [Put("b", "a", b"3"), Put("b", "b", b"3")]
    await store.write([Put("b", "a", b"2")])
    assert shown(await take(changes)) == (3, [("a", b"3"), ("b", b"3")], (), False)


async def test_very_many_changes_and_lost_ones_are_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_MOST_READ", 5)
    store = Watched(keep=3)
    changes = follow_bucket(store, "b")
    assert shown(await take(changes)) == (0, [], (), True)
    await store.write([Put("b", f"k{number}", b"") for number in range(6)])
    many = await take(changes)
    assert (many.whole, len(many.entries)) == (True, 6)
    for number in range(6):
        await store.write([Put("b", "x", str(number).encode())])
    assert (await take(changes)).whole, "more revisions than the store keeps"
    assert store.read_keys == 0


@in_virtual_time
async def test_an_error_is_told_once_and_then_everything_is_read_again() -> None:
    store = Watched()
    store.broken = True
    changes = follow_bucket(store, "b")
    waiting = asyncio.create_task(take(changes))
    await asyncio.sleep(1)
    assert not waiting.done(), "there is nothing to hand on yet"
    store.broken = False
    assert (await waiting).whole
    await store.write([Put("b", "a", b"1")])
    assert not (await take(changes)).whole
    store.broken = True
    assert (await take(changes)).error == "away"
    waiting = asyncio.create_task(take(changes))
    await asyncio.sleep(1)
    store.broken = False
    again = await waiting
    assert (again.whole, again.error, len(again.entries)) == (True, "", 1)


def decode(entry: Entry, before: str | None) -> tuple[str | None, tuple[Problem, ...]]:
    text = entry.value.decode()
    if text == "bad":
        return None, (Problem(Severity.ERROR, "bad", entry.key, Origin("test")),)
    return (before if before == text else text), ()


Step = tuple[list[tuple[str, bytes | None]], bool]
"""A batch, and whether it is followed at once."""
KEYS = st.sampled_from(["a", "a/b", "a/c", "a-b/c", "z"])
VALUES = st.sampled_from([None, b"one", b"two", b"bad"])
STEPS = st.lists(st.tuples(st.lists(st.tuples(KEYS, VALUES), max_size=4), st.booleans()), max_size=10)


@given(STEPS)
async def test_a_mirror_holds_what_a_list_would_give(steps: list[Step]) -> None:
    """Whether it follows each change, several at once, or misses so many that it is given everything."""
    store = Watched(keep=2)
    mirror = Mirror(decode)
    changes = follow_bucket(store, "b")
    await mirror.take(await take(changes))
    seen = 0
    last: list[Step] = [([("a", b"one")], True), ([("a", b"two")], True)]
    for batch, follow in steps + last:
        made = [Delete("b", key) if value is None else Put("b", key, value) for key, value in batch]
        revision = await store.write(made)
        if follow and revision > seen:
            before = mirror.values
            change = await take(changes)
            await mirror.take(change)
            seen = change.revision
            assert seen == revision
            assert mirror.values is before or change.entries or change.gone
    _, entries = await store.list("b")
    entries = tuple(sorted(entries, key=lambda one: one.key.split("/")))
    assert list(mirror.values) == [one.value.decode() for one in entries if one.value != b"bad"]
    assert {problem.message for problem in mirror.problems} == {one.key for one in entries if one.value == b"bad"}


async def test_a_damaged_entry_takes_its_value_away_until_it_is_mended() -> None:
    mirror = Mirror(decode)
    await mirror.take(BucketChange(1, (Entry("b", "a", b"one", 1, 0.0), Entry("b", "c", b"one", 1, 0.0)), whole=True))
    await mirror.take(BucketChange(2, (Entry("b", "a", b"bad", 2, 0.0),)))
    assert (mirror.values, len(mirror.problems)) == (("one",), 1)
    await mirror.take(BucketChange(3, error="away"))
    assert (mirror.values, len(mirror.problems)) == (("one",), 1)
    await mirror.take(BucketChange(4, (Entry("b", "a", b"two", 4, 0.0),)))
    assert (mirror.values, mirror.problems) == (("two", "one"), ())
