"""Where in a manifest something is, and the Problems that injection tells of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from weft.model.document import ObjectKey
from weft.model.origin import FieldLines, FieldPath, PathPart
from weft.model.problem import Problem, Severity

REFUSED = "injection-refused"
"""The pod cannot be what it asks for, so it is not made at all."""
IGNORED = "injection-annotation"
"""A label or an annotation asks for what weft does not do; the pod gets its sidecar without."""
MOST = 9
"""Refusals, and warnings, that are told of one pod: with what says that there are more, an answer to an API server
holds all of them."""
_LOOKS = 5
_LONGEST_LOOK = 80
"""Near words are looked for so often for one pod, and for words of at most so many characters: it takes two
milliseconds."""


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
    _told: dict[Severity, list[Problem]] = field(default_factory=dict)
    _more: dict[Severity, int] = field(default_factory=dict)
    _looks: int = 0

    def refuse(self, message: str, *path: PathPart, expected: str = "", nearest: str = "") -> None:
        """The pod cannot be injected as it is, and must not run without a sidecar."""
        self._tell(Severity.ERROR, REFUSED, message, path, expected, nearest)

    def warn(self, message: str, *path: PathPart, expected: str = "", nearest: str = "") -> None:
        """The pod gets its sidecar all the same."""
        self._tell(Severity.WARNING, IGNORED, message, path, expected, nearest)

    def refused(self) -> bool:
        """Whether one of them keeps the pod from being made."""
        return Severity.ERROR in self._told

    def problems(self) -> tuple[Problem, ...]:
        """The first of each severity, as they came, and how many more there are."""
        found = [each for told in self._told.values() for each in told]
        for severity, more in self._more.items():
            code = REFUSED if severity is Severity.ERROR else IGNORED
            found.append(self.place.problem(severity, code, f"and {more} more of the kind"))
        return tuple(found)

    def nearest(self, word: str, known: Iterable[str], cutoff: float) -> str:
        """The one of `known` that is most like `word`; empty if none is, or enough was looked for."""
        if self._looks >= _LOOKS or len(word) > _LONGEST_LOOK:
            return ""
        self._looks += 1
        near = get_close_matches(word, list(known), 1, cutoff)
        return near[0] if near else ""

    def _tell(self, severity: Severity, code: str, message: str, path: FieldPath, expected: str, nearest: str) -> None:
        told = self._told.setdefault(severity, [])
        if len(told) < MOST:
            told.append(self.place.problem(severity, code, message, path, expected, nearest))
        else:
            self._more[severity] = self._more.get(severity, 0) + 1
