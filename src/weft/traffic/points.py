"""Points: cells of many edges, added up by time."""

from __future__ import annotations

from collections.abc import Iterator

from weft.traffic.tally import Tally


class Points:
    """From slot `since` to `last`, each of `step` slots."""

    def __init__(self, since: int, last: int, step: int) -> None:
        self.since = since
        self._step = step
        count = (last - since) // step + 1
        self._requests = [0] * count
        self._failures = [0] * count
        self._sent = [0.0] * count
        self._received = [0.0] * count
        self._bins: list[dict[int, int]] = [{} for _ in range(count)]

    def add(self, slot: int, length: int, tally: Tally) -> None:
        """Add a span of `length` slots. Only one of one slot counts requests: longer ones have cells of their own."""
        if length == 1:
            self.add_count(slot, tally.requests, tally.failures)
        first, last = (self._place(one) for one in (slot, slot + length - 1))
        for place in range(first, last + 1):
            share = 1 / (last - first + 1)
            self._sent[place] += tally.sent * share
            self._received[place] += tally.received * share
            bins = self._bins[place]
            for number, count in tally.bins.items():
                bins[number] = bins.get(number, 0) + count

    def add_count(self, slot: int, requests: int, failures: int) -> None:
        """Add the requests of one cell."""
        place = self._place(slot)
        self._requests[place] += requests
        self._failures[place] += failures

    def all(self) -> Iterator[tuple[int, int, int, dict[int, int], int, int]]:
        """First slot, requests, failures, latencies, bytes sent and received of each."""
        for place, requests in enumerate(self._requests):
            at = self.since + place * self._step
            sent, received = round(self._sent[place]), round(self._received[place])
            yield at, requests, self._failures[place], self._bins[place] if requests else {}, sent, received

    def _place(self, slot: int) -> int:
        return max(0, min((slot - self.since) // self._step, len(self._requests) - 1))
