"""Cell and HoldOff."""

import asyncio

import pytest

from support.virtual_time import in_virtual_time
from weft.aio.cell import Cell
from weft.aio.holdoff import HoldOff


async def test_a_slow_waiter_sees_the_newest_value() -> None:
    cell = Cell("a")
    waiting = asyncio.create_task(cell.changed(0))
    await asyncio.sleep(0)
    cell.set("b")
    cell.set("c")
    assert await waiting == 2
    assert cell.value == "c"
    assert await cell.changed(1) == 2


@in_virtual_time
async def test_holdoff_joins_pokes_and_ends_at_the_longest() -> None:
    loop = asyncio.get_running_loop()
    hold = HoldOff(0.05, 0.2)

    async def poke() -> None:
        while True:
            hold.poke()
            await asyncio.sleep(0.01)

    poking = asyncio.create_task(poke())
    start = loop.time()
    await hold.wait()
    poking.cancel()
    assert loop.time() - start == pytest.approx(0.2)
    hold.poke()
    start = loop.time()
    await hold.wait()
    assert loop.time() - start == pytest.approx(0.05)


@in_virtual_time
async def test_holdoff_waits_for_the_first_poke() -> None:
    hold = HoldOff(0.01, 0.1)
    waiting = asyncio.create_task(hold.wait())
    await asyncio.sleep(3600)
    assert not waiting.done()
    hold.poke()
    async with asyncio.timeout(2):
        await waiting
