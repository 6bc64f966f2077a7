"""Problems: told once, and in one line each."""

from __future__ import annotations

from dataclasses import replace

from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity, distinct

PROBLEM = Problem(
    Severity.ERROR,
    "unknown-host",
    "one",
    Origin("f", 3),
    ObjectKey("", "Service", "n", "a"),
    ("spec", "host"),
    "x",
    "y",
)


def test_what_is_said_of_one_field_is_told_once() -> None:
    others = (
        replace(PROBLEM, code="unknown-port"),
        replace(PROBLEM, origin=Origin("f", 4)),
        replace(PROBLEM, path=("spec", "port")),
        replace(PROBLEM, object=None),
    )
    assert distinct((PROBLEM, replace(PROBLEM, message="other words"), *others)) == (PROBLEM, *others)


def test_without_a_field_the_words_count() -> None:
    whole = replace(PROBLEM, path=())
    other = replace(whole, message="two")
    assert distinct((whole, other, whole)) == (whole, other)


def test_a_problem_is_told_in_one_line() -> None:
    assert str(PROBLEM) == "f:3: error: spec.host: one; expected x; did you mean 'y'?"
    assert str(replace(PROBLEM, origin=Origin("f", 3, 7), path=(), expected="", nearest="")) == "f:3:7: error: one"
