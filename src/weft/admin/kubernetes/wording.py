"""A Problem in the words that Kubernetes wants it in: a sentence, and a reason in CamelCase."""

from __future__ import annotations

from weft.model.origin import path_text
from weft.model.problem import Problem


def words(problem: Problem) -> str:
    """As `weft validate` says it, without where the document is from."""
    text = f"{path_text(problem.path)}: {problem.message}" if problem.path else problem.message
    if problem.expected:
        text += f"; expected {problem.expected}"
    if problem.nearest:
        text += f"; did you mean '{problem.nearest}'?"
    return text


def reason_of(code: str) -> str:
    """``UnknownField`` for ``unknown-field``."""
    return "".join(part[:1].upper() + part[1:] for part in code.split("-"))
