"""Problems of the mesh: what is wrong between documents, each at the field that says it."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity

MISSING_REFERENCES = frozenset(
    (
        "unknown-service", "unknown-host", "unknown-subset", "unknown-gateway", "unknown-class", "unknown-secret",
        "reference-not-granted",
    )
)  # fmt: skip
"""Codes of Problems that another document mends: who has a part of a mesh in hand may look for them elsewhere."""


def problem_at(
    document: Document[object],
    path: FieldPath,
    code: str,
    message: str,
    expected: str = "",
    *,
    severity: Severity = Severity.ERROR,
    nearest: str = "",
) -> Problem:
    """A Problem at a field of a document."""
    return Problem(severity, code, message, document.at(*path), document.key, path, expected, nearest)


def one_of(known: Iterable[str], otherwise: str) -> str:
    """What is expected, where the known names can be listed; `otherwise` if there are none."""
    names = ", ".join(known)
    return f"one of {names}" if names else otherwise
