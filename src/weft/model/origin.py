"""Where a value came from: a file and line, or an object behind an API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PathPart = str | int
FieldPath = tuple[PathPart, ...]
"""Steps from the document's root to a field, e.g. ``("spec", "rules", 0, "matches")``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a document or of one of its fields.

    `source` names the file (as the user gave it) or ``api``; `line` is 1-based, 0 when the format gives none; `column`
    is 1-based and known for syntax errors only.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        text = f"{self.source}:{self.line}" if self.line else self.source
        return f"{text}:{self.column}" if self.column else text


def origin_from_text(text: str) -> Origin:
    """The place that ``FILE:LINE`` names."""
    source, colon, line = text.rpartition(":")
    return Origin(source, int(line)) if colon and line.isdecimal() else Origin(text)


@dataclass(frozen=True, slots=True)
class FieldLines:
    """The line of each field of one document, by path."""

    source: str
    lines: Mapping[FieldPath, int] = field(default_factory=dict)

    def origin(self, *path: PathPart) -> Origin:
        """The origin of `path`, or of its nearest ancestor whose line is known."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return Origin(self.source, line)
        return Origin(self.source)


def path_text(path: FieldPath) -> str:
    """`path` as people write it: ``spec.rules[0].matches``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text
