"""Bytes on the way to all clients: whose turn it is, and when freed memory is given back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from weft.discovery.budget import Budget
from weft.discovery.memory import Trimmer, system_trim

MB = 1 << 20


@dataclass(eq=False)
class Turn:
    """Counts its turns."""

    turns: int = 0

    def set(self) -> None:
        self.turns += 1


def test_turns_are_given_one_at_a_time_in_order() -> None:
    budget = Budget(limit=100, small=10)
    most = [budget.most]
    assert budget.take(10, Turn()) is None, "small ones do not count"
    shares = []
    for size in (60, 61):
        share = budget.take(size, Turn())
        assert share is not None
        shares.append(share)
        most.append(budget.most)
    assert most == [None, None, 10]
    first, second = Turn(), Turn()
    budget.wait(first)
    budget.wait(second)
    budget.wait(first)
    budget.pass_on()
    assert (first.turns, second.turns) == (0, 0), "still too much"
    for _ in range(2):
        shares[0].give()
        assert (first.turns, second.turns) == (1, 0)
    assert budget.in_flight == 61
    budget.pass_on()
    assert (first.turns, second.turns) == (1, 1), "there was room for another"
    budget.pass_on()
    assert (first.turns, second.turns) == (1, 1)


def test_who_leaves_does_not_keep_the_turn() -> None:
    budget = Budget(limit=1, small=0)
    share = budget.take(1, Turn())
    assert share is not None
    first, second = Turn(), Turn()
    budget.wait(first)
    budget.wait(second)
    budget.leave(first)
    assert (first.turns, second.turns) == (0, 0)
    share.give()
    assert (first.turns, second.turns) == (0, 1)
    assert (budget.in_flight, budget.total) == (0, 1)


@pytest.mark.parametrize("size", [10, 20], ids=["small", "large"])
def test_who_sends_passes_the_turn_on(size: int) -> None:
    """It may be to a client that never reads."""
    budget = Budget(limit=100, small=10)
    share = budget.take(100, Turn())
    assert share is not None
    first, second = Turn(), Turn()
    budget.wait(first)
    budget.wait(second)
    share.give()
    assert (first.turns, second.turns) == (1, 0)
    budget.take(size, first)
    assert (first.turns, second.turns) == (1, 1), "there is room for both"


def test_who_sends_something_else_while_it_waits_is_passed_over_and_keeps_its_place() -> None:
    budget = Budget(limit=1, small=0)
    first, second, third = Turn(), Turn(), Turn()
    share = budget.take(1, Turn())
    assert share is not None
    for one in (first, second, third):
        budget.wait(one)
    budget.take(0, first)
    share.give()
    assert (first.turns, second.turns, third.turns) == (0, 1, 0)
    budget.wait(first)
    budget.leave(second)
    assert (first.turns, second.turns, third.turns) == (1, 1, 0)


def test_memory_is_given_back_after_a_burst_and_not_too_often() -> None:
    trimmer = Trimmer()
    assert not trimmer.is_due(MB, 0, 10), "that was no burst"
    assert not trimmer.is_due(40 * MB, 5, 11), "it is still on the way"
    assert trimmer.is_due(40 * MB, 0, 12)
    assert not trimmer.is_due(80 * MB, 0, 14), "a moment ago"
    assert trimmer.is_due(80 * MB, 0, 17)
    trim = system_trim()
    assert trim is None or trim() in (0, 1)
