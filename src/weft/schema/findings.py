"""A Finding: what a rule says about one value, before it is known where the value stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from weft.model.origin import FieldPath
from weft.model.problem import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the field at `path` (API spelling), which starts at the value the rule was given."""

    path: FieldPath
    message: str
    expected: str = ""
    nearest: str = ""
    code: str = "bad-value"
    severity: Severity = Severity.ERROR


Rule = Callable[[Any], Iterable[Finding]]
"""Looks at a decoded value of one dataclass."""


def printable(text: str) -> str:
    """`text` as it may be printed: nothing in it moves a terminal's cursor or hides."""
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    )


def conflicting(path: FieldPath, message: str, expected: str = "") -> Finding:
    """Fields that exclude each other."""
    return Finding(path, message, expected, code="conflicting-fields")


def missing(path: FieldPath, message: str, expected: str = "") -> Finding:
    """A field that is needed because of another one."""
    return Finding(path, message, expected, code="missing-field")


def duplicate(path: FieldPath, message: str) -> Finding:
    """A value that must be unique and is not."""
    return Finding(path, message, code="duplicate")


def no_effect(path: FieldPath, message: str, expected: str = "") -> Finding:
    """A word that changes nothing here, and that may stay."""
    return Finding(path, message, expected, code="no-effect", severity=Severity.WARNING)


def deprecated(path: FieldPath, message: str, expected: str) -> Finding:
    """An old spelling that still works."""
    return Finding(path, message, expected, code="deprecated-field", severity=Severity.WARNING)
