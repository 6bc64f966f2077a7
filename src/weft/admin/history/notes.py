"""Notes: what the admin API is about to write, so that the history knows who asked for what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft.model.document import Document, ObjectKey

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """One object of a change, before and after."""

    key: ObjectKey
    old: Document[object] | None
    new: Document[object] | None

    @property
    def change(self) -> str:
        """created, changed or deleted."""
        if self.old is None:
            return "created"
        return "changed" if self.new is not None else "deleted"


@dataclass(eq=False, slots=True)
class Note:
    """A change that is being written; `revision` is the store's when it is (0: not yet)."""

    who: str
    action: str
    steps: tuple[Step, ...]
    revision: int = 0


class Notes:
    """Changes whose meaning is not in force yet; `settled` while none is just being written."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}
        self.settled = asyncio.Event()
        self.settled.set()

    def expect(self, who: str, action: str, steps: Sequence[Step]) -> Note:
        """This is about to be written; see `noting`."""
        note = Note(who, action, tuple(steps))
        if note.steps:
            self._notes[note] = None
            self.settled.clear()
            while len(self._notes) > _MOST:
                del self._notes[next(iter(self._notes))]
        return note

    def end(self, note: Note) -> None:
        """It was written, or could not be."""
        if not note.revision:
            self._notes.pop(note, None)
        if all(one.revision for one in self._notes):
            self.settled.set()

    def due(self, store_revision: int) -> bool:
        """Whether there are some up to this revision of the store."""
        return any(0 < note.revision <= store_revision for note in self._notes)

    def take(self, store_revision: int) -> Iterator[Note]:
        """Those up to this revision of the store, in the order in which they were written."""
        found = [note for note in self._notes if 0 < note.revision <= store_revision]
        for note in sorted(found, key=lambda one: one.revision):
            del self._notes[note]
            yield note


@contextlib.contextmanager
def noting(notes: Notes, who: str, action: str, steps: Sequence[Step]) -> Iterator[Note]:
    """A note for as long as something is written; the writer sets its `revision`. What could not be written is none."""
    note = notes.expect(who, action, steps)
    try:
        yield note
    finally:
        notes.end(note)
