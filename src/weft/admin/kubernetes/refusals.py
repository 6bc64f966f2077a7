"""Refusals: the kinds whose status weft may not write, and when to try again. No I/O; the clock is passed in."""

from __future__ import annotations

from weft.model.document import ObjectKey
from weft.schema.registry import Kind

_AGAIN = 30.0
_NAMED = 5


class Refusals:
    """By kind: what the server said, and when it may be asked again."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, str, float]] = {}

    def refused(self, kind: Kind, message: str, now: float) -> None:
        """It was refused at `now` (monotonic seconds)."""
        known = self._found.get((kind.group, kind.name))  # its words name an object, so they differ each time
        self._found[kind.group, kind.name] = (kind.full_word, known[1] if known else message, now + _AGAIN)

    def taken(self, kind: Kind) -> None:
        """It may be written."""
        self._found.pop((kind.group, kind.name), None)

    def clear(self) -> None:
        """Another writes."""
        self._found.clear()

    def until(self, key: ObjectKey) -> float:
        """Until when it is not worth a try."""
        found = self._found.get((key.group, key.kind))
        return found[2] if found is not None else 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, as kubectl calls them."""
        return tuple(sorted(word for word, _, _ in self._found.values()))

    @property
    def text(self) -> str:
        """What is refused and why, in one sentence without its end; empty: nothing."""
        if not self._found:
            return ""
        kinds, messages = self.kinds, sorted(message for _, message, _ in self._found.values())
        more = f" and {len(kinds) - _NAMED} more kinds" if len(kinds) > _NAMED else ""
        return f"the status of {', '.join(kinds[:_NAMED])}{more} cannot be written: {messages[0]}"
