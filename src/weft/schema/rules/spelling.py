"""Words that are almost another one, where other words have a meaning, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.model.origin import FieldPath
from weft.schema.findings import Finding
from weft.schema.wording import nearest_name

_ALMOST = 0.75


def misspelt(path: FieldPath, text: str, names: Sequence[str]) -> Iterator[Finding]:
    """A word that is almost one of `names`: nobody means what is so near. That words end alike (CustomRoute, TCPRoute)
    is not enough."""
    near = nearest_name(text, names, _ALMOST) if text not in names else ""
    if near:
        yield Finding(path, f"found '{text[:80]}'", " or ".join(names), near)
