"""The memory of a proxy's traffic: what was not told yet, and the last hour of what was, to be told again to a control
plane that has lost it. Within two megabytes. Pure; times are those of any clock that only goes forward.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass

import msgspec

from weft.agent.deltas import EdgeCounts, add_sums, bounded_edges
from weft.model.report import CELL_SECONDS, KEPT_SECONDS, MAX_CELLS, Cell, EdgeSum

MAX_BYTES = 2 << 20
_DECODER = msgspec.json.Decoder(tuple[EdgeSum, ...])
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """What was counted in a span of at most 10 s around `middle`: edges as bytes, and how many requests they are."""

    middle: float
    data: bytes
    requests: int
    packed: bool = False

    @property
    def slot(self) -> int:
        """The number of the span of 10 s."""
        return int(self.middle // CELL_SECONDS)

    @property
    def edges(self) -> tuple[EdgeSum, ...]:
        """What is in it."""
        return _DECODER.decode(zlib.decompress(self.data) if self.packed else self.data)

    def cell(self, now: float) -> Cell:
        """As a report says it."""
        return Cell(min(max(0.0, now - self.middle), KEPT_SECONDS), self.edges)

    @property
    def length(self) -> int:
        """Bytes that it takes in a report."""
        return len(zlib.decompress(self.data)) if self.packed else len(self.data)


class Memory:
    """`instance` is the control plane that was told last; `left_out` counts requests that nobody will be told of."""

    def __init__(self) -> None:
        self.instance = ""
        self.left_out = 0
        self._edges: EdgeCounts = {}
        self._since = 0.0
        self._untold: deque[Piece] = deque()
        self._told: deque[Piece] = deque()
        self._fresh: list[Piece] = []  # told of the slot that is not over yet
        self._sent: list[Piece] = []

    @property
    def size(self) -> int:
        """Bytes of what it holds."""
        return sum(len(piece.data) for piece in (*self._untold, *self._told, *self._fresh, *self._sent))

    @property
    def has_news(self) -> bool:
        """Whether something is to be told."""
        return bool(self._edges or self._untold or self._sent)

    @property
    def has_history(self) -> bool:
        """Whether another control plane would have to be told something."""
        return bool(self._told or self._fresh)

    def add(self, edges: EdgeCounts, since: float, now: float) -> None:
        """Add what was counted between `since` and now."""
        if self._edges and int(self._since // CELL_SECONDS) != int(now // CELL_SECONDS):
            self._cut(since)
        if not self._edges:
            self._since = since
        for key, count in edges.items():
            if (known := self._edges.get(key)) is None:
                self._edges[key] = count
            else:
                known.add(count)

    @property
    def in_flight(self) -> bool:
        """Whether something was taken of which nobody knows whether it has come."""
        return bool(self._sent)

    def take(self, now: float, room: int) -> list[Piece]:
        """What to tell now, the newest first, as much as `room` bytes hold. Until `told` says that it has come, the
        same again: nobody knows whether it has."""
        if self._sent:
            return self._sent
        self._cut(now)
        while self._untold and len(self._sent) < MAX_CELLS:
            room -= self._untold[-1].length
            if room < 0 and self._sent:
                break
            self._sent.append(self._untold.pop())
        return self._sent

    def refused(self) -> None:
        """What was taken is not wanted in this form, and will not be."""
        self.left_out += sum(piece.requests for piece in self._sent)
        self._sent = []

    def told(self, instance: str, now: float) -> None:
        """What was taken has come to this control plane. Another one than before has nothing of what was told."""
        if instance != self.instance:
            again = [*self._told, *self._fresh]
            self._untold.extendleft(reversed(again))
            self._told.clear()
            self._fresh.clear()
            self.instance = instance
        current = int(now // CELL_SECONDS)
        self._fresh += self._sent
        self._sent = []
        over = [piece for piece in self._fresh if piece.slot < current]
        self._fresh = [piece for piece in self._fresh if piece.slot >= current]
        over = _merged(over)
        if over and self._told and over[0].middle < self._told[-1].middle:  # told again, the newest first
            self._told = deque(sorted((*self._told, *over), key=lambda piece: piece.middle))
        else:
            self._told.extend(over)

    def forget(self, now: float) -> None:
        """Drop what is older than an hour, and the oldest where there is too much; what nobody was told is counted."""
        size = self.size
        for kept, counts in ((self._told, False), (self._untold, True)):
            while kept and (kept[0].middle < now - KEPT_SECONDS or size > MAX_BYTES):
                piece = kept.popleft()
                size -= len(piece.data)
                self.left_out += piece.requests if counts else 0

    def _cut(self, now: float) -> None:
        if self._edges:
            sums, others = bounded_edges(self._edges)
            self.left_out += others
            requests = sum(count.requests for count in self._edges.values()) - others
            self._untold.append(Piece((self._since + now) / 2, msgspec.json.encode(sums), requests))
            self._edges = {}


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Pieces of the same 10 s as one each, packed."""
    by_slot: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_slot.setdefault(piece.slot, []).append(piece)
    found = []
    for slot, parts in sorted(by_slot.items()):
        if len(parts) == 1 and parts[0].packed:
            found += parts
            continue
        edges: EdgeCounts = {}
        for part in parts:
            add_sums(edges, part.edges)
        data = zlib.compress(msgspec.json.encode(bounded_edges(edges)[0]), _LEVEL)
        requests = sum(part.requests for part in parts)
        found.append(Piece((slot + 0.5) * CELL_SECONDS, data, requests, packed=True))
    return found
