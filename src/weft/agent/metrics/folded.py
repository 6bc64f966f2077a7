"""What a proxy saw and did not keep apart: its statistics are bounded, and what is beyond the bound counts here."""

from __future__ import annotations

from weft.agent.series import Kept, Reading
from weft.model.series import Reporter

_COUNTED: tuple[Kept, ...] = ("duration", "closed")


class Folded:
    """Adds up, from reading to reading, what grew in all but in no statistic of its own. It only grows, also when the
    proxy forgets a series or starts again."""

    def __init__(self) -> None:
        self._all: dict[tuple[Reporter, Kept], int] = {}
        self._kept: dict[tuple[Reporter, Kept, str], int] = {}
        self._sums: dict[tuple[Reporter, Kept], int] = {}

    def update(self, reading: Reading) -> dict[str, tuple[int, int]]:
        """Requests and connections so far, by reporter."""
        grown: dict[tuple[Reporter, Kept], int] = {}
        for key, count in reading.kept.items():
            side = key[:2]
            grown[side] = grown.get(side, 0) + _grown(self._kept.get(key, 0), count)
        for what, counts in zip(_COUNTED, (reading.everything, reading.connections), strict=True):
            for reporter, count in counts.items():
                now = _grown(self._all.get((reporter, what), 0), count)
                more = max(0, now - grown.get((reporter, what), 0))
                self._sums[reporter, what] = self._sums.get((reporter, what), 0) + more
                self._all[reporter, what] = count
        self._kept = reading.kept
        reporters = {reporter for reporter, _ in self._sums}
        return {
            reporter: (self._sums.get((reporter, "duration"), 0), self._sums.get((reporter, "closed"), 0))
            for reporter in reporters
        }


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now
