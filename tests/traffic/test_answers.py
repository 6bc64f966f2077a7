"""Answers that took long are given again for a while, and worked out once however many ask."""

from __future__ import annotations

import asyncio

import pytest

from weft.traffic.answers import Answers


class Slow:
    """Work that takes as long as its clock says."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds, self.count = 0.0, seconds, 0
        self.go = asyncio.Event()
        self.answers = Answers(lambda: self.now)

    async def work(self) -> int:
        self.count += 1
        await self.go.wait()
        self.now += self.seconds
        return self.count


async def test_many_ask_and_one_works() -> None:
    slow = Slow(2.0)
    asking = [asyncio.create_task(slow.answers.of("x", slow.work)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    slow.go.set()
    assert await asyncio.gather(*asking[1:]) == [1, 1, 1, 1]
    assert slow.count == 1


async def test_a_slow_answer_is_good_for_a_while_and_no_longer() -> None:
    slow = Slow(2.0)
    slow.go.set()
    assert await slow.answers.of("x", slow.work) == 1
    slow.now += 9
    assert await slow.answers.of("x", slow.work) == 1
    assert await slow.answers.of("y", slow.work) == 2
    slow.now += 11
    assert await slow.answers.of("x", slow.work) == 3


async def test_a_quick_answer_is_worked_out_each_time() -> None:
    slow = Slow(0.001)
    slow.go.set()
    assert [await slow.answers.of("x", slow.work) for _ in range(3)] == [1, 2, 3]


async def test_a_failure_is_told_and_tried_again() -> None:
    answers = Answers()

    async def fail() -> int:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            await answers.of("x", fail)
