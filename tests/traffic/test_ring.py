"""Rings: sums are kept whatever the order, and the past gets coarser but loses nothing until it is too old."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.bins import BINS, BOUNDS, RELATIVE_ERROR, bin_of, bounds_of
from weft.traffic.packing import Packer, Unpacker
from weft.traffic.ring import (
    DAY_CHUNK,
    DAY_SLOTS,
    HALF_HOUR_SLOTS,
    HOUR_CHUNK,
    HOUR_SLOTS,
    Ring,
    minutes_from,
    whole_from,
)
from weft.traffic.tally import Tally, unpack_tally
from weft.traffic.verdict import CONNECTION, flag_bits, flag_text, has_failed

BASE = 1_000_000 * DAY_CHUNK


def _tally(requests: int, failures: int = 0, latency: float = 5.0, size: int = 100) -> Tally:
    tally = Tally()
    if requests:
        tally.outcomes[200, 0, -1] = requests
        tally.bins[bin_of(latency)] = requests
    if failures:
        tally.outcomes[503, flag_bits("UF"), -1] = failures
        tally.bins[bin_of(latency)] = requests + failures
    tally.sent, tally.received = size * requests, 2 * size * requests
    return tally


@given(st.lists(st.integers(0, 1 << 40)))
def test_numbers_come_back(numbers: list[int]) -> None:
    to = Packer()
    for number in numbers:
        to.add(number)
    to.add_column(numbers)
    read = Unpacker(to.data)
    assert [read.next() for _ in numbers] == numbers
    assert read.column(len(numbers)) == numbers
    assert not read.more


@given(
    st.dictionaries(
        st.tuples(st.integers(0, CONNECTION), st.integers(0, 1 << 30), st.integers(-1, 16)), st.integers(1, 1 << 30)
    ),
    st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 1 << 30)),
    st.tuples(*[st.integers(0, 1 << 40)] * 4),
)
def test_a_tally_comes_back(
    outcomes: dict[tuple[int, int, int], int], bins: dict[int, int], four: tuple[int, ...]
) -> None:
    tally = Tally()
    tally.outcomes, tally.bins = outcomes, bins
    tally.sent, tally.received, tally.opened, tally.closed = four
    to = Packer()
    tally.pack(to)
    again = unpack_tally(Unpacker(to.data))
    assert (again.outcomes, again.bins) == (outcomes, bins)
    assert (again.sent, again.received, again.opened, again.closed) == four


@given(st.floats(1.0, BOUNDS[-1], exclude_max=True))
def test_the_middle_of_a_bin_is_near_all_in_it(milliseconds: float) -> None:
    lower, width = bounds_of(bin_of(milliseconds))
    assert lower <= milliseconds < lower + width
    middle = 2 * lower * (lower + width) / (2 * lower + width)
    assert abs(middle - milliseconds) / milliseconds <= RELATIVE_ERROR + 1e-9


def test_bins_below_a_millisecond_and_beyond_a_day() -> None:
    assert bounds_of(bin_of(0.0)) == (0.0, 1.0) == bounds_of(bin_of(0.999))
    assert bin_of(1e12) == BINS - 1
    assert bounds_of(BINS - 1)[1] == 0.0


def test_flags_come_back_and_unknown_ones_are_one() -> None:
    assert flag_text(flag_bits("-")) == "-"
    assert flag_text(flag_bits("URX,UF")) == "UF,URX"
    assert flag_text(flag_bits("XYZ,UF,ABC")) == "UF,other"


@pytest.mark.parametrize(
    ("verdict", "failed"),
    [
        ((200, 0, -1), False),
        ((404, 0, -1), False),
        ((429, flag_bits("RL"), -1), False),
        ((403, flag_bits("UAEX"), -1), False),
        ((400, flag_bits("FI"), -1), False),
        ((200, flag_bits("DI"), -1), False),
        ((200, flag_bits("DC"), -1), False),
        ((500, 0, -1), True),
        ((0, flag_bits("DC"), -1), True),
        ((404, flag_bits("NR"), -1), True),
        ((200, flag_bits("UR"), -1), True),
        ((200, 0, 0), False),
        ((200, 0, 5), False),
        ((200, 0, 14), True),
        ((CONNECTION, 0, -1), False),
    ],
)
def test_what_a_failure_is(verdict: tuple[int, int, int], failed: bool) -> None:
    assert has_failed(verdict) is failed


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 50), st.integers(0, 5)), min_size=1, max_size=60),
    st.integers(0, 2**32),
)
def test_the_order_makes_no_difference_and_nothing_is_lost(adds: list[tuple[int, int, int]], seed: int) -> None:
    shuffled = list(adds)
    random.Random(seed).shuffle(shuffled)
    end = BASE + 2001
    sums = []
    for order in (sorted(adds), shuffled):
        ring = Ring()
        for number, (slot, requests, failures) in enumerate(order):
            ring.add(BASE + slot, _tally(requests, failures))
            if number % 7 == 3:
                ring.settle(max(ring.end, BASE + slot))
        ring.settle(end)
        total = ring.total(BASE - DAY_CHUNK, end)
        sums.append((total.outcomes, total.coarser().bins, total.sent, total.received))
        counts = list(ring.counts(BASE - DAY_CHUNK, end))
        assert sum(count for _, count, _ in counts) == sum(a + b for _, a, b in adds)
        assert sum(failures for _, _, failures in counts) == sum(b for _, _, b in adds)
    assert sums[0] == sums[1]
    assert sums[0][2] == 100 * sum(a for _, a, _ in adds)


def test_each_part_of_the_past_has_its_resolution() -> None:
    ring = Ring()
    last = BASE + DAY_SLOTS
    for slot in range(BASE, last):
        ring.add(slot, _tally(3, 1))
        if slot % HOUR_CHUNK == 0:
            ring.settle(slot)
    ring.settle(last)
    whole, minutes = whole_from(last), minutes_from(last)
    lengths = {slot: length for slot, length, _ in ring.spans(BASE, last)}
    assert {length for slot, length in lengths.items() if slot >= whole} == {1}
    assert {length for slot, length in lengths.items() if minutes <= slot < whole} == {6}
    assert {length for slot, length in lengths.items() if slot < minutes} == {HALF_HOUR_SLOTS}
    cells = {slot: count for slot, count, _ in ring.counts(BASE, last)}
    assert {count for slot, count in cells.items() if slot >= minutes} == {4}
    assert {count for slot, count in cells.items() if slot < minutes} == {24}
    assert ring.total(BASE, last).requests == 4 * DAY_SLOTS
    assert last - whole >= 12
    assert last - minutes >= HOUR_SLOTS


def test_what_is_older_than_a_day_goes() -> None:
    ring = Ring()
    ring.add(BASE, _tally(1))
    ring.settle(BASE + HOUR_CHUNK * 2)
    ring.settle(BASE + 3 * DAY_SLOTS)
    assert ring.empty


def test_what_comes_late_is_added_to_what_is_packed() -> None:
    ring = Ring()
    for slot in range(BASE, BASE + 4000):
        ring.add(slot, _tally(1))
        if slot % HOUR_CHUNK == 0:
            ring.settle(slot)
    ring.add_all({BASE + 5: _tally(7), BASE + 3990: _tally(2)})
    assert ring.total(BASE, BASE + 4000).requests == 4009
