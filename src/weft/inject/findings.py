"""Where in a manifest something is, and the Problems that injection tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.model.document import ObjectKey
from weft.model.origin import FieldLines, FieldPath, PathPart
from weft.model.problem import Problem, Severity

REFUSED = "injection-refused"
"""The pod cannot be what it asks for, so it is not made at all."""
IGNORED = "injection-annotation"
"""A label or an annotation asks for what weft does not do; the pod gets its sidecar without."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pod in its manifest: its object, the lines of the manifest, and the path to the pod in it."""

    lines: FieldLines
    base: FieldPath = ()
    about: ObjectKey | None = None

    def problem(
        self, severity: Severity, code: str, message: str, path: FieldPath = (), expected: str = "", nearest: str = ""
    ) -> Problem:
        """A Problem of the field at `path` of the pod."""
        whole = (*self.base, *path)
        origin = self.lines.origin(*whole)
        return Problem(severity, code, message, origin, self.about, whole, expected=expected, nearest=nearest)


ADMISSION = Place(FieldLines("admission"))
"""A pod that the API server asks about."""


@dataclass(slots=True)
class Findings:
    """Collects Problems of one pod."""

    place: Place
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, message: str, *path: PathPart, expected: str = "", nearest: str = "") -> None:
        """The pod cannot be injected as it is, and must not run without a sidecar."""
        self.problems.append(self.place.problem(Severity.ERROR, REFUSED, message, path, expected, nearest))

    def warn(self, message: str, *path: PathPart, expected: str = "", nearest: str = "") -> None:
        """The pod gets its sidecar all the same."""
        self.problems.append(self.place.problem(Severity.WARNING, IGNORED, message, path, expected, nearest))

    def refused(self) -> bool:
        """Whether one of them keeps the pod from being made."""
        return any(each.severity == Severity.ERROR for each in self.problems)
