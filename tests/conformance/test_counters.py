"""Every kind of counters: in memory, and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.envoy import free_port
from support.redis import Redis
from weft.counters.counters import Counters, CountersAwayError, Wanted
from weft.counters.memory import MemoryCounters
from weft.counters.redis_counters import RedisCounters
from weft.testing.polling import eventually

HOUR = 3600


def wanted(key: str = "a", requests: int = 3, burst: int | None = None, seconds: int = HOUR) -> Wanted:
    return Wanted(key, requests, seconds, burst or requests)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters()
        return
    found = RedisCounters(redis.url, timeout=5.0)
    yield found
    await found.close()


async def test_a_burst_and_no_more(counters: Counters) -> None:
    taken = [(await counters.take([wanted(requests=60, burst=3)]))[0] for _ in range(5)]
    assert [one.allowed for one in taken] == [True, True, True, False, False]
    assert [one.remaining for one in taken] == [2, 1, 0, 0, 0]
    assert 0 < taken[0].reset <= 60, "all are back when the one that was taken is"
    assert 0 < taken[-1].reset <= 60, "the next comes back a minute after the first was taken"


async def test_keys_are_counted_apart(counters: Counters) -> None:
    for key in ("a", "b", "a\0b", "ä"):
        assert [(await counters.take([wanted(key, 1)]))[0].allowed for _ in range(2)] == [True, False]


async def test_all_or_nothing(counters: Counters) -> None:
    each, every = wanted("each", 2), wanted("every", 4)
    for _ in range(2):
        assert [one.allowed for one in await counters.take([each, every])] == [True, True]
    for _ in range(5):
        assert [one.allowed for one in await counters.take([each, every])] == [False, True]
    assert [one.remaining for one in await counters.take([wanted("other", 9), every])] == [8, 1]


async def test_what_is_taken_comes_back(counters: Counters) -> None:
    fast = wanted("fast", 20, burst=1, seconds=1)
    assert (await counters.take([fast]))[0].allowed

    async def again() -> bool:
        return (await counters.take([fast]))[0].allowed

    await eventually("it comes back", again)


async def test_many_at_once_get_no_more(counters: Counters) -> None:
    taken = await asyncio.gather(*(counters.take([wanted(requests=10)]) for _ in range(15)))
    assert sum(one.allowed for [one] in taken) == 10


async def test_nobody_queues_for_a_redis_that_is_away() -> None:
    clock = [0.0]
    counters = RedisCounters(f"redis://127.0.0.1:{free_port()}/0", clock=lambda: clock[0])
    with pytest.raises(CountersAwayError, match="does not answer"):
        await counters.take([wanted()])
    with pytest.raises(CountersAwayError, match="a moment ago"):
        await counters.take([wanted()])
    clock[0] += 10
    with pytest.raises(CountersAwayError, match="does not answer"):
        await counters.take([wanted()])
    await counters.close()


async def test_memory_is_bounded() -> None:
    clock = [0.0]
    counters = MemoryCounters(lambda: clock[0], most=100)
    for number in range(1000):
        await counters.take([wanted(str(number), 1)])
    assert len(counters) == 100
    assert not (await counters.take([wanted("999", 1)]))[0].allowed
    clock[0] += HOUR + 1
    for number in range(60):
        await counters.take([wanted(str(number), 1)])
    assert len(counters) <= 60, "what is full again is forgotten"
