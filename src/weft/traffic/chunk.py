"""A chunk of an edge's past: requests and failures by cell, and tallies by longer spans, packed into bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from weft.traffic.packing import Packer, Unpacker
from weft.traffic.tally import Tally, unpack_tally


@dataclass(slots=True)
class Chunk:
    """By first slot."""

    counts: dict[int, tuple[int, int]] = field(default_factory=dict)
    tallies: dict[int, Tally] = field(default_factory=dict)

    def add_count(self, slot: int, requests: int, failures: int) -> None:
        """Count for the cell that begins at `slot`."""
        before = self.counts.get(slot, (0, 0))
        self.counts[slot] = (before[0] + requests, before[1] + failures)

    def add_tally(self, slot: int, tally: Tally) -> None:
        """Add to the span that begins at `slot`."""
        self.tallies.setdefault(slot, Tally()).add(tally)

    def packed(self, start: int, cell: int) -> bytes:
        """As bytes, counted from `start`; cells are `cell` slots long."""
        to, slots, spans = Packer(), sorted(self.counts), sorted(self.tallies)
        to.add(len(slots))
        to.add_column([(b - a) // cell for a, b in pairwise((start, *slots))])
        to.add_column([self.counts[slot][0] for slot in slots])
        to.add_column([self.counts[slot][1] for slot in slots])
        to.add(len(spans))
        to.add_column([slot - start for slot in spans])
        for slot in spans:
            self.tallies[slot].pack(to)
        return bytes(to.data)


def unpack_chunk(data: bytes, start: int, cell: int) -> Chunk:
    """What `Chunk.packed` made bytes of."""
    numbers = Unpacker(data)
    count = numbers.next()
    slots = [start + gap * cell for gap in accumulate(numbers.column(count))]
    requests, failures = numbers.column(count), numbers.column(count)
    counts = {slot: (a, b) for slot, a, b in zip(slots, requests, failures, strict=True)}
    spans = numbers.column(numbers.next())
    return Chunk(counts, {start + span: unpack_tally(numbers) for span in spans})
