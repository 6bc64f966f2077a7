"""A Problem: something wrong in the configuration, with what a person needs to correct it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from weft.model.document import ObjectKey, key_mapping
from weft.model.origin import FieldPath, Origin, path_text


class Severity(enum.StrEnum):
    """How bad it is: an error keeps the document (or its part) out of force, a warning does not, and a note says what
    was left aside where nothing is wrong. Notes are told to who hands a text in, and not kept."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    `code` is a stable kebab-case word for programs (``unknown-field``, ``host-conflict``, ``nack``); `path` is the
    field, empty for the whole document; `message` says what was found; `expected` what would be right; `nearest` the
    closest valid name.
    """

    severity: Severity
    code: str
    message: str
    origin: Origin
    object: ObjectKey | None = None
    path: FieldPath = ()
    expected: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        text = f"{self.origin}: {self.severity}: "
        if self.path:
            text += f"{path_text(self.path)}: "
        text += self.message
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean '{self.nearest}'?"
        return text


def problem_mapping(problem: Problem) -> dict[str, Any]:
    """A Problem as the APIs and ``-o json`` show it."""
    key, origin = problem.object, problem.origin
    return {
        "severity": str(problem.severity),
        "code": problem.code,
        "message": problem.message,
        "source": origin.source,
        "line": origin.line,
        "path": path_text(problem.path),
        "expected": problem.expected,
        "nearest": problem.nearest,
        "object": key_mapping(key) if key else None,
    }


def distinct(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """`problems` without those that say of one field what one before them says, if in other words."""
    first: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        text = "" if problem.path else problem.message
        first.setdefault((problem.code, problem.object, problem.origin, problem.path, text), problem)
    return tuple(first.values())
