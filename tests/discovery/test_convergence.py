"""Convergence: from a publication until the last proxy has answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.discovery.convergence import Convergence


@dataclass
class Notes:
    """A meter that writes down."""

    took: list[float] = field(default_factory=list)
    lost: int = 0

    def sent(self, type_url: str, size: int) -> None:
        """Not of interest here."""

    def refused(self, type_url: str) -> None:
        """Not of interest here."""

    def converged(self, seconds: float) -> None:
        self.took.append(seconds)

    def given_up(self) -> None:
        self.lost += 1


def test_the_last_answer_counts() -> None:
    notes = Notes()
    convergence = Convergence(notes)
    convergence.published(10.0, ["a", "b"], 10.1)
    assert convergence.awaits("a")
    convergence.settled("a", 10.5)
    assert not convergence.awaits("a")
    assert notes.took == []
    convergence.settled("b", 12.0)
    assert notes.took == [2.0]


def test_what_everybody_has_answered_meanwhile_is_done_at_once() -> None:
    notes = Notes()
    Convergence(notes).published(1.0, [], 1.25)
    assert notes.took == [0.25]


def test_an_answer_to_the_latest_is_one_to_all_before() -> None:
    notes = Notes()
    convergence = Convergence(notes)
    convergence.published(1.0, ["a", "b"], 1.0)
    convergence.published(2.0, ["a"], 2.0)
    convergence.settled("a", 3.0)
    assert notes.took == [1.0]
    convergence.settled("b", 5.0)
    assert notes.took == [1.0, 4.0]


def test_who_never_answers_is_given_up_and_holds_no_memory() -> None:
    notes = Notes()
    convergence = Convergence(notes)
    for moment in range(20):
        convergence.published(float(moment), ["stuck"], float(moment))
    assert notes.lost == 4
    convergence.inspect(100.0)
    assert notes.lost == 20
    assert not convergence.awaits("stuck")
