"""Tallies: what happened on one edge in one span of time, added up, and packed."""

from __future__ import annotations

from itertools import accumulate, chain, pairwise

from weft.model.bins import BINS
from weft.traffic.packing import Packer, Unpacker
from weft.traffic.verdict import CONNECTION, SUCCESS, Verdict, has_failed, rough

_MOST_VERDICTS = 64


class Tally:
    """A sum that grows. `outcomes` counts requests (and connections that ended badly) by verdict, `bins` requests by
    latency (`weft.model.bins`)."""

    __slots__ = ("bins", "closed", "opened", "outcomes", "received", "sent")

    def __init__(self) -> None:
        self.outcomes: dict[Verdict, int] = {}
        self.bins: dict[int, int] = {}
        self.sent = self.received = self.opened = self.closed = 0

    @property
    def requests(self) -> int:
        """How many."""
        return sum(count for verdict, count in self.outcomes.items() if verdict[0] < CONNECTION)

    @property
    def failures(self) -> int:
        """How many of the requests failed."""
        return sum(n for verdict, n in self.outcomes.items() if verdict[0] < CONNECTION and has_failed(verdict))

    def add(self, other: Tally) -> None:
        """Add another to this one."""
        for verdict, count in other.outcomes.items():
            self.add_outcome(verdict, count)
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count
        self.sent += other.sent
        self.received += other.received
        self.opened += other.opened
        self.closed += other.closed

    def add_outcome(self, verdict: Verdict, count: int) -> None:
        """Count requests that ended so. Of more than `_MOST_VERDICTS` only the class is kept: no agent can make a sum
        grow with what it tells."""
        if verdict not in self.outcomes and len(self.outcomes) >= _MOST_VERDICTS:
            verdict = rough(verdict)
        self.outcomes[verdict] = self.outcomes.get(verdict, 0) + count

    def coarser(self) -> Tally:
        """The same with bins in pairs: each counts as the slower of the two."""
        found = Tally()
        found.add(self)
        found.bins = {}
        for number, count in self.bins.items():
            of_two = min(number + number % 2, BINS - 1)
            found.bins[of_two] = found.bins.get(of_two, 0) + count
        return found

    def pack(self, to: Packer) -> None:
        """Add all of it to `to`."""
        has_connections = bool(self.opened or self.closed)
        to.add(len(self.outcomes) << 1 | has_connections)
        to.add(self.sent)
        to.add(self.received)
        if has_connections:
            to.add(self.opened)
            to.add(self.closed)
        for verdict, count in self.outcomes.items():
            if verdict == SUCCESS:
                to.add(count << 1)
            else:
                to.add(count << 1 | 1)
                for number in (verdict[0], verdict[1], verdict[2] + 1):
                    to.add(number)
        numbers = sorted(self.bins)
        to.add(len(numbers))
        to.add_column(numbers[:1])
        to.add_column([b - a for a, b in pairwise(numbers)])
        to.add_column([self.bins[number] for number in numbers])


def unpack_tally(numbers: Unpacker) -> Tally:
    """What `Tally.pack` added."""
    tally = Tally()
    head, tally.sent, tally.received = numbers.next(), numbers.next(), numbers.next()
    if head & 1:
        tally.opened, tally.closed = numbers.next(), numbers.next()
    for _ in range(head >> 1):
        first = numbers.next()
        verdict = (numbers.next(), numbers.next(), numbers.next() - 1) if first & 1 else SUCCESS
        tally.outcomes[verdict] = first >> 1
    count = numbers.next()
    places = accumulate(chain(numbers.column(min(count, 1)), numbers.column(count - 1 if count else 0)))
    tally.bins = dict(zip(places, numbers.column(count), strict=True))
    return tally
