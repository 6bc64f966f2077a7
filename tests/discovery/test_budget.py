"""Bytes on the way to all clients: whose turn it is, and when freed memory is given back."""

from __future__ import annotations

from dataclasses import dataclass

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
    for _ in range(2):
        budget.take(60)
        most.append(budget.most)
    assert most == [None, None, 10]
    first, second = Turn(), Turn()
    budget.wait(first)
    budget.wait(second)
    budget.wait(first)
    budget.give(10)
    assert (first.turns, second.turns) == (0, 0), "still too much"
    budget.give(50)
    assert (first.turns, second.turns) == (1, 0)
    budget.pass_on()
    assert (first.turns, second.turns) == (1, 1), "there was room for another"
    budget.pass_on()
    assert (first.turns, second.turns) == (1, 1)


def test_who_leaves_does_not_keep_the_turn() -> None:
    budget = Budget(limit=1, small=0)
    budget.take(1)
    first, second = Turn(), Turn()
    budget.wait(first)
    budget.wait(second)
    budget.leave(first)
    assert (first.turns, second.turns) == (0, 0)
    budget.give(1)
    assert (first.turns, second.turns) == (0, 1)
    assert (budget.in_flight, budget.total) == (0, 1)


def test_memory_is_given_back_after_a_burst_and_not_too_often() -> None:
    trimmer = Trimmer()
    assert not trimmer.is_due(MB, 0, 10), "that was no burst"
    assert not trimmer.is_due(40 * MB, 5, 11), "it is still on the way"
    assert trimmer.is_due(40 * MB, 0, 12)
    assert not trimmer.is_due(80 * MB, 0, 14), "a moment ago"
    assert trimmer.is_due(80 * MB, 0, 17)
    trim = system_trim()
    assert trim is None or trim() in (0, 1)
