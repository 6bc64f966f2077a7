"""The window of a large mesh, in a process of its own: a day of traffic, the cost of reports and questions."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time

from bench.machine import resident_bytes
from weft.model.bins import bin_of
from weft.model.report import Cell, EdgeSum, Report
from weft.traffic.edges import Asked
from weft.traffic.keeper import TrafficKeeper
from weft.traffic.names import EdgeName, Teller
from weft.traffic.ring import DAY_SLOTS, HOUR_CHUNK, Ring
from weft.traffic.tally import Tally
from weft.traffic.verdict import flag_bits
from weft.traffic.window import slot_of

EDGES_OF_ONE = 10
PATTERNS = 40
"""Edges whose day is really lived; the others are copies of their bytes."""
START = 1_000_000_000


class Clock:
    """A monotonic clock that benchmarks move."""

    now = float(START)


def tally(chance: random.Random, rate: float, usual: float) -> Tally:
    """Ten seconds of one edge: a Poisson-like number of requests, latencies of a wide log-normal distribution, bodies
    of some sizes, and a few failures."""
    found, count = Tally(), max(0, round(chance.gauss(rate * 10, (rate * 10) ** 0.5)))
    if not count:
        return found
    found.outcomes[200, 0, -1] = count
    if chance.random() < 0.03:
        found.outcomes[503, flag_bits("UF"), -1] = 1
    for _ in range(count):
        number = bin_of(int(chance.lognormvariate(0, 0.6) * usual))
        found.bins[number] = found.bins.get(number, 0) + 1
    found.sent, found.received = sum(chance.randrange(200, 2000) for _ in range(count)), 110 * count
    return found


def lived(chance: random.Random, rate: float, until: int) -> Ring:
    """The ring of an edge that was busy all day, until the slot `until`."""
    ring, usual = Ring(), chance.choice([2, 8, 30, 120])
    for slot in range(until - DAY_SLOTS - HOUR_CHUNK, until):
        found = tally(chance, rate, usual)
        if found.outcomes:
            ring.add(slot, found)
        if slot % HOUR_CHUNK == 12:
            ring.settle(slot)
    return ring


def copied(ring: Ring) -> Ring:
    """Another ring with the same bytes, each an object of its own."""
    found = Ring()
    for name in Ring.__slots__:
        value = getattr(ring, name)
        if isinstance(value, bytes | bytearray):
            value = type(value)(bytearray(value))
        setattr(found, name, value)
    return found


def fill(keeper: TrafficKeeper, workloads: int, rate: float, until: int) -> None:
    """Put the day of so many workloads into the keeper's window."""
    chance = random.Random(1)
    patterns = [lived(chance, rate, until) for _ in range(PATTERNS)]
    window = keeper._window  # there is no other way to live a day in a benchmark
    for number in range(workloads * EDGES_OF_ONE):
        source = f"shop/caller-{number // EDGES_OF_ONE}"
        name = EdgeName(
            source, source, f"shop/service-{number}", f"shop/callee-{number}", 8080, "http", True, "HTTPRoute shop/all"
        )
        window._rings[name] = copied(patterns[number % PATTERNS])
        window._owners[name] = source


def report(teller: int, sequence: int) -> Report:
    """What an agent with ten busy edges tells of two seconds."""
    edges = tuple(
        EdgeSum(
            "source",
            "http",
            f"service-{teller * EDGES_OF_ONE + edge}.shop.svc.cluster.local",
            8080,
            f"shop/callee-{teller * EDGES_OF_ONE + edge}",
            f"shop/callee-{teller * EDGES_OF_ONE + edge}",
            True,
            "HTTPRoute shop/all",
            ((200, "-", "", 20),),
            tuple((30 + place, 2) for place in range(10)),
            20_000,
            2_000,
        )
        for edge in range(EDGES_OF_ONE)
    )
    return Report(str(teller), sequence, (Cell(1.0, edges),))


async def measured(workloads: int, rate: float) -> dict[str, float]:
    """Everything that there is to measure."""
    clock = Clock()
    keeper = TrafficKeeper(lambda: workloads, clock=lambda: clock.now)
    before = resident_bytes(os.getpid())
    fill(keeper, workloads, rate, slot_of(clock.now + 400_000.0))
    found = {"edges": float(keeper.edge_count), "memory_MB": (resident_bytes(os.getpid()) - before) / 1e6}
    found["counted_MB"] = keeper.size / 1e6
    tellers, spent = min(workloads, 1000), 0.0
    clock.now += 30
    await keeper.take()
    for round_ in range(4):
        reports = [(Teller(f"shop/caller-{one}", f"shop/caller-{one}"), report(one, round_)) for one in range(tellers)]
        began = time.process_time()
        for number, (who, what) in enumerate(reports):
            if keeper.submit(who, what).again or number % 500 == 499:
                await keeper.take()
        spent += time.process_time() - began
        clock.now += 2
    found["report_us"] = spent / tellers / 4 * 1e6
    began = time.process_time()
    clock.now += 60
    await keeper.take()
    found["closing_an_edge_us"] = (time.process_time() - began) / tellers / EDGES_OF_ONE * 1e6
    for name, seconds in (("minute", 120.0), ("hour", 3600.0)):
        began = time.process_time()
        await keeper.window(seconds)
        found[f"question_about_all_{name}_s"] = time.process_time() - began
    one = Asked(destination="shop/service-7")
    began = time.process_time()
    await keeper.series(86400.0, 1800, one)
    found["question_about_one_day_ms"] = (time.process_time() - began) * 1e3
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured(int(sys.argv[1]), float(sys.argv[2])))))
