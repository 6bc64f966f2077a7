"""A ledger of rows that are numbered as they change, so that who has read to a number is told the rest and no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from weft.admin.replicas.rows import Row

_MOST_GONE = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """What came after a number, up to `number`. See `weft.admin.replicas.rows.Page`."""

    number: int
    rows: tuple[Row, ...]
    gone: tuple[str, ...]
    whole: bool


class Ledger:
    """One writer. It remembers that a row is gone for as long as few others have gone since (`most_gone`): who has not
    read for longer is told everything anew."""

    def __init__(self, most_gone: int = _MOST_GONE) -> None:
        self._most_gone = most_gone
        self._rows: dict[str, tuple[int, Row]] = {}
        self._gone: dict[str, int] = {}
        self._kinds: dict[type[Row], frozenset[str]] = {}
        self._forgotten = 0
        self.number = 1

    def __len__(self) -> int:
        return len(self._rows)

    def write(self, kind: type[Row], rows: Iterable[Row]) -> None:
        """These are all rows of a kind now."""
        found = {row.id: row for row in rows}
        for name in self._kinds.get(kind, frozenset()) - found.keys():
            self._drop(name)
        for name, row in found.items():
            before = self._rows.get(name)
            if before is None or before[1] != row:
                self.number += 1
                self._rows.pop(name, None)
                self._gone.pop(name, None)
                self._rows[name] = (self.number, row)
        self._kinds[kind] = frozenset(found)

    def _drop(self, name: str) -> None:
        del self._rows[name]
        self.number += 1
        self._gone[name] = self.number
        if len(self._gone) > self._most_gone:
            oldest = next(iter(self._gone))
            self._forgotten = self._gone.pop(oldest)

    def since(self, number: int) -> Part:
        """What has changed after `number` (0: nothing is known yet)."""
        whole = number < self._forgotten or number > self.number or not number
        number = 0 if whole else number
        changes = ((at, row) for at, row in reversed(self._rows.values()))
        rows = tuple(row for _, row in takewhile(lambda change: change[0] > number, changes))
        gone = takewhile(lambda change: change[1] > number, reversed(self._gone.items()))
        return Part(self.number, rows, () if whole else tuple(name for name, _ in gone), whole)
