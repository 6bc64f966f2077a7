"""The state that batches make, the same in every replica, and drafts of batches that may be added to it. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from weft.store.leases import LeaseTable
from weft.store.memory import check_expected, last_changes
from weft.store.protocol import LEASED_BUCKET, Change, CompactedError, Entry, Put
from weft.store.shared.records import Batch, Everything, Row, kept_from

MARGIN_SECONDS = 30.0
"""Renewals are the matter of the replica that hears them, and written down late: others take a lease to be over so much
later than was written. It is also for clocks that differ."""
KEPT_IDS = 4096
"""More than can be written while one waits for an answer."""
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it was written down: its end then, and the replica that renews it."""

    end: float
    by: str


class State:
    """Entries, leases, and which changes the last `keep` revisions made. `due` says when this replica may end a lease:
    one that it renews at its end, another one a margin later."""

    def __init__(self, replica: str, keep: int) -> None:
        self.replica = replica
        self.index = 0
        self.revision = 0
        self.entries: dict[Place, Entry] = {}
        self.held: dict[str, Held] = {}
        self.due = LeaseTable()
        self.ids: dict[str, None] = {}
        """Of the last batches, the oldest first: who has lost an answer looks here."""
        self._keep = keep
        self._base = 0
        self._places: dict[int, tuple[Place, ...]] = {}

    def apply(self, batch: Batch) -> None:
        """The next batch."""
        self.index = batch.index
        self.ids[batch.id] = None
        if len(self.ids) > KEPT_IDS:
            del self.ids[next(iter(self.ids))]
        for row in batch.rows:
            self._change(row, batch)
        if batch.rows:
            self.revision = batch.revision
            self._places[batch.revision] = tuple((row.bucket, row.key) for row in batch.rows)
            self._places.pop(batch.revision - self._keep, None)
        for key, end in batch.leases.items():
            self._lease(key, Held(end, batch.by))

    def _change(self, row: Row, batch: Batch) -> None:
        place = (row.bucket, row.key)
        if row.value is None:
            self.entries.pop(place, None)
            if row.bucket == LEASED_BUCKET:
                self.held.pop(row.key, None)
                self.due.drop(row.key)
            return
        before = self.entries.get(place)
        created = before.created if before is not None else batch.time
        self.entries[place] = Entry(row.bucket, row.key, row.value, batch.revision, created)

    def _lease(self, key: str, held: Held) -> None:
        if (LEASED_BUCKET, key) not in self.entries:
            return
        before = self.held.get(key)
        self.held[key] = held
        if held.by != self.replica:
            self.due.set(key, held.end + MARGIN_SECONDS)
        elif before is None or before.by != self.replica:
            self.due.set(key, held.end)

    def renewed_in(self, before: State) -> None:
        """Leases that this replica renews end as in its state before this one, which was read anew."""
        for key, end in before.due.ends.items():
            if before.owns(key) and self.owns(key):
                self.due.set(key, max(end, self.due.ends[key]))

    def owns(self, key: str) -> bool:
        """Whether this replica renews the lease."""
        held = self.held.get(key)
        return held is not None and held.by == self.replica

    def has_late(self, now: float) -> bool:
        """Whether others would soon take leases to be over that this replica has renewed."""
        return any(True for _ in self.late(now))

    def late(self, now: float) -> Iterator[tuple[str, float]]:
        """Those leases, and their ends."""
        for key, held in self.held.items():
            end = self.due.ends[key]
            if held.by == self.replica and end > held.end and now > held.end + MARGIN_SECONDS / 3:
                yield key, end

    def changes(self, after: int) -> tuple[Place, ...]:
        """What revisions after that one changed, each place once. CompactedError if that is not known."""
        if not max(self._base, self.revision - self._keep) <= after <= self.revision:
            raise CompactedError(f"changes after revision {after} are not kept (now {self.revision}): list again")
        found = (place for number in range(after + 1, self.revision + 1) for place in self._places[number])
        return tuple(sorted(set(found)))

    def everything(self) -> Callable[[], Everything]:
        """What makes a snapshot of this moment; it may be called later, and on another thread."""
        index, revision = self.index, self.revision
        entries, leases = tuple(self.entries.values()), {key: (one.end, one.by) for key, one in self.held.items()}
        ids = tuple(self.ids)
        return lambda: Everything(index, revision, tuple(map(kept_from, entries)), leases, ids)

    def restore(self, everything: Everything) -> None:
        """Begin with a snapshot, instead of with nothing; what changed before it is not known."""
        self.index, self.revision, self._base = everything.index, everything.revision, everything.revision
        self.ids = dict.fromkeys(everything.ids)
        for one in everything.entries:
            entry = Entry(one.bucket, one.key, one.value, one.revision, one.created)
            self.entries[one.bucket, one.key] = entry
        for key, (end, by) in everything.leases.items():
            self._lease(key, Held(end, by))


class Draft:
    """Batches that follow a state, which they leave as it is. `ends` are those of leases of this replica, to be set
    when they have been written, `ending` the keys whose lease has ended."""

    def __init__(self, state: State, now: float, new_id: Callable[[], str]) -> None:
        self._state = state
        self._now = now
        self._new_id = new_id
        self._entries: dict[Place, Entry | None] = {}
        self._revision = state.revision
        self.batches: list[Batch] = []
        self.ends: dict[str, float] = {}
        self.ending: set[str] = set()

    def entry(self, place: Place) -> Entry | None:
        """What is there after the batches so far."""
        return self._entries[place] if place in self._entries else self._state.entries.get(place)

    def write(self, changes: Sequence[Change], expect: Mapping[Place, int], leases: Mapping[str, float]) -> int:
        """The revision after these changes, or after none. ConflictError."""
        for place, wanted in expect.items():
            held = self.entry(place)
            check_expected(place, wanted, held.revision if held else 0)
        rows, begun = [], {}
        for place, change in last_changes(changes).items():
            held = self.entry(place)
            if not isinstance(change, Put):
                if held is not None:
                    rows.append(Row(*place, None))
            elif held is None or held.value != change.value:
                rows.append(Row(*place, change.value))
                if held is None and change.bucket == LEASED_BUCKET:
                    begun[change.key] = self._now
        if rows:
            self._revision += 1
        for row in rows:
            self._note(row)
        self._add(rows, begun | {key: end for key, end in leases.items() if self._is_there(key)})
        return self._revision

    def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
        """The keys that have no entry; the leases of others end as is said."""
        there = {key: end for key, end in leases.items() if self._is_there(key)}
        self._add((), there)
        return frozenset(leases.keys() - there.keys())

    def expire(self, now: float) -> tuple[str, ...]:
        """Remove entries whose leases are over."""
        keys = tuple(key for key in self._state.due.over(now) if self._is_there(key) and self._is_over(key, now))
        if keys:
            rows = [Row(LEASED_BUCKET, key, None) for key in keys]
            self._revision += 1
            for row in rows:
                self._note(row)
            self._add(rows, {})
            self.ending |= set(keys)
        return keys

    def write_down(self, now: float) -> None:
        """Leases that others would soon take to be over, though they were renewed."""
        late = dict(self._state.late(now))
        if late:
            self._add((), late, written=True)

    def _is_over(self, key: str, now: float) -> bool:
        return self.ends.get(key, now) <= now

    def _is_there(self, key: str) -> bool:
        return self.entry((LEASED_BUCKET, key)) is not None

    def _note(self, row: Row) -> None:
        place = (row.bucket, row.key)
        held = self.entry(place)
        created = held.created if held is not None else self._now
        gone = row.value is None
        self._entries[place] = None if gone else Entry(*place, row.value or b"", self._revision, created)
        if gone and row.bucket == LEASED_BUCKET:
            self.ends.pop(row.key, None)

    def _add(self, rows: Sequence[Row], leases: Mapping[str, float], *, written: bool = False) -> None:
        """A batch, if there is something to write: a renewal of what this replica renews already is not."""
        new = leases if written else {key: end for key, end in leases.items() if rows or not self._state.owns(key)}
        self.ends.update(leases)
        if rows or new:
            index = self._state.index + len(self.batches) + 1
            replica = self._state.replica
            batch = Batch(index, self._revision, self._new_id(), replica, self._now, tuple(rows), dict(new))
            self.batches.append(batch)
