"""The ring of one edge: its last hour in cells of 10 s, its last day in cells of 60 s, in about nine kilobytes.

The newest cells are whole. Older ones keep how many requests there were and how many failed, and share the rest
(latencies, statuses, bytes) with their neighbours: for 60 s within the hour, for 30 minutes within the day, where
latencies are in bins twice as wide.

    recent   12 to 72 cells of 10 s, whole
    hour     chunks of 10 minutes: counts at 10 s, the rest at 60 s
    day      chunks of an hour: counts at 60 s, the rest at 30 minutes

Slots are numbers of 10 s spans. Nothing here knows a clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.traffic.chunk import Chunk, unpack_chunk
from weft.traffic.packing import Packer, Unpacker
from weft.traffic.tally import Tally, unpack_tally

HOUR_SLOTS = 360
DAY_SLOTS = 8640
MINUTE_SLOTS = 6
HALF_HOUR_SLOTS = 180
HOUR_CHUNK = 60
DAY_CHUNK = 360
WHOLE_SLOTS = 12
"""So many of the newest cells are always whole."""
_OBJECTS = 900
"""Bytes that a ring, its name and their places take, beside what it holds."""


class Ring:
    """Of one edge. `end` is the slot after the newest cell; from slot `whole` on cells are whole."""

    __slots__ = ("_day", "_hour", "_last", "_minutes", "_recent", "end", "whole")

    def __init__(self, whole: int = 0) -> None:
        self.end = 0
        self.whole = whole
        self._recent = bytearray()
        self._last = 0
        self._minutes = 0  # from this slot on the past is in `hour`; before, in `day` only
        self._hour = b""
        self._day = b""

    def add(self, slot: int, tally: Tally) -> None:
        """Add what happened in one span of 10 s, in any order."""
        if slot < self.whole:
            self._add_past({slot: tally})
        elif slot >= self.end:
            self._append(slot, tally)
        else:
            cells = dict(self._cells())
            cells.setdefault(slot, Tally()).add(tally)
            self._rewrite(cells)

    def add_all(self, cells: dict[int, Tally]) -> None:
        """Add many at once, as after a control plane has come back."""
        whole = {slot: tally for slot, tally in cells.items() if slot >= self.whole}
        if whole:
            held = dict(self._cells())
            for slot, tally in whole.items():
                held.setdefault(slot, Tally()).add(tally)
            self._rewrite(held)
        self._add_past({slot: tally for slot, tally in cells.items() if slot < self.whole})

    def settle(self, now: int) -> None:
        """Make chunks of what is old enough, and drop what is too old; `now` is the slot that is not over yet."""
        self.whole = max(self.whole, whole_from(now))
        cells = dict(self._cells())
        past = {slot: tally for slot, tally in cells.items() if slot < self.whole}
        if past:
            self._add_past(past)
            self._rewrite({slot: tally for slot, tally in cells.items() if slot >= self.whole})
        self._minutes = max(self._minutes, minutes_from(now))
        self._hour = _joined({start: part for start, part in _parts(self._hour) if start >= self._minutes})
        oldest = now - DAY_SLOTS - DAY_CHUNK
        self._day = _joined({start: part for start, part in _parts(self._day) if start > oldest})

    def total(self, since: int, until: int) -> Tally:
        """The sum of all spans that begin in ``[since, until)``."""
        found = Tally()
        for _, _, tally in self.spans(since, until):
            found.add(tally)
        return found

    def counts(self, since: int, until: int) -> Iterator[tuple[int, int, int]]:
        """Slot, requests and failures of each cell: of 10 s within the hour, of 60 s before."""
        for slot, tally in self._cells(since):
            if slot < until:
                yield slot, tally.requests, tally.failures
        for chunk, _, (first, last) in self._chunks(since, until):
            for slot, (requests, failures) in chunk.counts.items():
                if first <= slot < last:
                    yield slot, requests, failures

    def spans(self, since: int, until: int) -> Iterator[tuple[int, int, Tally]]:
        """Slot, length in slots and tally of everything in ``[since, until)``."""
        if until > self.whole:
            for slot, tally in self._cells(since):
                if slot < until:
                    yield slot, 1, tally
        for chunk, length, (first, last) in self._chunks(since, until):
            for slot, tally in chunk.tallies.items():
                if first <= slot < last:
                    yield slot, length, tally

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not (self._recent or self._hour or self._day)

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _OBJECTS + len(self._recent) + len(self._hour) + len(self._day)

    def _append(self, slot: int, tally: Tally) -> None:
        if not self._recent:
            self._last = 0
        to, packed = Packer(), Packer()
        tally.pack(packed)
        to.add(slot - self._last)
        to.add(len(packed.data))
        self._recent += to.data + packed.data
        self._last, self.end = slot, slot + 1

    def _rewrite(self, cells: dict[int, Tally]) -> None:
        end, self._recent = self.end, bytearray()
        for slot in sorted(cells):
            self._append(slot, cells[slot])
        self._recent, self.end = bytearray(self._recent), max(end, self.end)

    def _cells(self, since: int = 0) -> Iterator[tuple[int, Tally]]:
        numbers, slot = Unpacker(self._recent), 0
        while numbers.more:
            slot += numbers.next()
            length = numbers.next()
            if slot >= since:
                yield slot, unpack_tally(numbers)
            else:
                numbers.at += length

    def _add_past(self, cells: dict[int, Tally]) -> None:
        recent = {slot: tally for slot, tally in cells.items() if slot >= self._minutes}
        if recent:
            self._hour = _added(self._hour, recent, HOUR_CHUNK, 1, MINUTE_SLOTS)
        if cells:
            self.end = max(self.end, max(cells) + 1)
            self._day = _added(self._day, cells, DAY_CHUNK, MINUTE_SLOTS, HALF_HOUR_SLOTS)

    def _chunks(self, since: int, until: int) -> Iterator[tuple[Chunk, int, tuple[int, int]]]:
        """Chunks that touch ``[since, until)``, the length of their spans, and between which slots each counts."""
        for start, part in _parts(self._hour):
            if start < until and start + HOUR_CHUNK > since:
                yield unpack_chunk(part, start, 1), MINUTE_SLOTS, (since, until)
        before = min(until, self._minutes)
        for start, part in _parts(self._day):
            if start < before and start + DAY_CHUNK > since:
                yield unpack_chunk(part, start, MINUTE_SLOTS), HALF_HOUR_SLOTS, (since, before)


def whole_from(now: int) -> int:
    """From this slot on cells are whole, while `now` is not over yet."""
    return (now - WHOLE_SLOTS) // HOUR_CHUNK * HOUR_CHUNK


def minutes_from(now: int) -> int:
    """From this slot on there are cells of 10 s, and the rest by the minute."""
    return (now - HOUR_SLOTS) // HALF_HOUR_SLOTS * HALF_HOUR_SLOTS


def _added(shelf: bytes, cells: dict[int, Tally], length: int, cell: int, span: int) -> bytes:
    """`shelf` with `cells` added to its chunks of `length` slots, which count per `cell` and tally per `span` slots."""
    parts = dict(_parts(shelf))
    for start in sorted({slot // length * length for slot in cells}):
        chunk = unpack_chunk(parts[start], start, cell) if start in parts else Chunk()
        for slot, tally in cells.items():
            if start <= slot < start + length:
                chunk.add_count(slot // cell * cell, tally.requests, tally.failures)
                chunk.add_tally(slot // span * span, tally.coarser() if cell > 1 else tally)
        parts[start] = chunk.packed(start, cell)
    return _joined(parts)


def _joined(parts: dict[int, bytes]) -> bytes:
    """Chunks by their first slot as one text of bytes: an object each would cost more than many of them hold."""
    heads = (start.to_bytes(5, "big") + len(parts[start]).to_bytes(3, "big") + parts[start] for start in sorted(parts))
    return b"".join(heads)


def _parts(shelf: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(shelf):
        length = int.from_bytes(shelf[at + 5 : at + 8], "big")
        yield int.from_bytes(shelf[at : at + 5], "big"), shelf[at + 8 : at + 8 + length]
        at += 8 + length
