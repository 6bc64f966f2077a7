"""The window: what agents told of the last day, a ring for each edge, within a fixed number of bytes.

Both sides of a call tell of it. The caller's word counts; that of the callee only where no caller's proxy told of the
same pair of workloads at about the same time. That is known when a slot has been over for a while, so the newest slots
are open: sums that are not in rings yet.

Nothing here knows a clock: times are seconds of any clock that only goes forward. What takes long is a generator that
yields between its steps, so that its owner can give way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from weft.model.report import CELL_SECONDS, KEPT_SECONDS, MAX_EDGES, EdgeSum, Report
from weft.traffic.edges import ALL, Asked
from weft.traffic.names import EdgeName, Teller, edge_name
from weft.traffic.ring import DAY_SLOTS, HALF_HOUR_SLOTS, HOUR_CHUNK, MINUTE_SLOTS, Ring, minutes_from, whole_from
from weft.traffic.tally import Tally
from weft.traffic.verdict import CONNECTION, flag_bits

OPEN_SLOTS = 3
"""The newest slot and those before it in which reports may still come in."""
_NEAR = 2
"""Slots by which the two sides of a call may tell of it apart."""
_FULL = 0.95
_SHARES = 16
"""Of this part of all bytes one teller is sure, if others want them; honest ones take a third of it."""
_NAMES_AT_ONCE = 256
_NO_GRPC = -1


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """`size` in bytes, of all rings together; `edges` at once; of one teller `edges_of_one`."""

    size: int = 192 << 20
    edges: int = 60_000
    edges_of_one: int = 2 * MAX_EDGES


DEFAULT_LIMITS = WindowLimits()


@dataclass(slots=True)
class _Open:
    """A slot that is not in the rings yet: what callers and what callees told."""

    callers: dict[EdgeName, Tally] = field(default_factory=dict)
    callees: dict[EdgeName, Tally] = field(default_factory=dict)
    by_teller: Counter[str] = field(default_factory=Counter)

    def of(self, teller: str, name: EdgeName, is_caller: bool, most: int) -> Tally | None:
        """The sum of an edge; None for a new one of a teller that has told of so many already."""
        sums = self.callers if is_caller else self.callees
        found = sums.get(name)
        if found is None and self.by_teller[teller] < most:
            self.by_teller[teller] += 1
            sums[name] = found = Tally()
        return found


@dataclass(slots=True)
class _Teller:
    """What is known of one that reports: its agent and the last report of it, its proxy and what that had counted."""

    heard: float
    agent: str = ""
    sequence: int = 0
    proxy: str = ""
    total: int = 0
    edges: int = 0


class Window:
    """Owns the rings. `begun` is when it began to be told."""

    def __init__(self, begun: float, limits: WindowLimits = DEFAULT_LIMITS) -> None:
        self.begun = begun
        self._limits = limits
        self._rings: dict[EdgeName, Ring] = {}
        self._owners: dict[EdgeName, str] = {}
        self._open: dict[int, _Open] = {}
        self._closed = slot_of(begun)  # slots below are closed
        self._settled = 0  # from this slot on all rings are whole
        self._minutes = 0  # from this slot on they have cells of 10 s
        self._told: dict[str, dict[str, int]] = {}  # caller, callee, and the last slot of which the caller told
        self._tellers: dict[str, _Teller] = {}
        self._dropped: dict[int, int] = {}
        self.dropped_in_all = 0

    def add(self, teller: Teller, report: Report, now: float) -> bool:
        """Add a report that came now; False when it was here before."""
        known = self._tellers.setdefault(teller.workload, _Teller(now))
        if report.agent == known.agent and report.sequence <= known.sequence:
            return False
        self._note_loss(known, report, now)
        known.heard, known.agent, known.sequence = now, report.agent, report.sequence
        past: dict[EdgeName, dict[int, Tally]] = {}
        for cell in report.cells:
            slot = slot_of(now - min(cell.age, KEPT_SECONDS))
            for told in cell.edges:
                self._add_sum(teller, told, slot, past, now)
        for name, cells in past.items():
            if ring := self._ring(name, teller.workload, cells, now):
                ring.add_all(cells)
        return True

    def advance(self, now: float) -> Iterator[None]:
        """Put slots that are over into rings, and make room; to be called every few seconds, and run to its end."""
        current = slot_of(now)
        while self._closed <= current - OPEN_SLOTS:
            slot, self._closed = self._closed, self._closed + 1
            yield from self._close(slot, now)
            yield from self._make_room(now)
        if whole_from(current) > self._settled:
            self._settled, self._minutes = whole_from(current), minutes_from(current)
            for name, ring in list(self._rings.items()):
                ring.settle(current)
                if ring.empty:
                    self._forget(name)
                yield
            self._clean(current, now)

    def since(self, seconds: float, now: float) -> int:
        """The first slot of a window of so many seconds: earlier than asked, where the past is kept in longer spans."""
        slot = slot_of(now - seconds)
        if slot >= self._settled:
            return slot
        if slot >= self._minutes:
            return slot - slot % MINUTE_SLOTS
        return slot - slot % HALF_HOUR_SLOTS

    def totals(self, since: int, asked: Asked = ALL) -> Iterator[tuple[EdgeName, Tally, int] | None]:
        """Of each edge that had traffic from slot `since` on: the sum, and its newest slot. None between steps."""
        for name in self._names(asked):
            if name is None:
                yield None
                continue
            ring = self._rings.get(name)
            total, newest = Tally(), 0
            if ring is not None and ring.end > since:
                total, newest = ring.total(since, ring.end), ring.end - 1
            for slot, tally in self._fresh(name):
                if slot >= since:
                    total.add(tally)
                    newest = max(newest, slot)
            yield (name, total, newest) if newest else None

    def cells(self, since: int, asked: Asked = ALL) -> Iterator[tuple[int, int, Tally] | None]:
        """What happened from slot `since` on, told apart by time: slot, length in slots, tally. Those longer than one
        slot have cells of their own in `counts`. None between steps."""
        for name in self._names(asked):
            ring = self._rings.get(name) if name is not None else None
            if ring is not None:
                yield from ring.spans(since, ring.end)
            if name is not None:
                yield from ((slot, 1, tally) for slot, tally in self._fresh(name) if slot >= since)
            yield None

    def counts(self, since: int, asked: Asked = ALL) -> Iterator[tuple[int, int, int] | None]:
        """Slot, requests and failures of cells that are not whole any more. None between steps."""
        for name in self._names(asked):
            ring = self._rings.get(name) if name is not None else None
            if ring is not None:
                yield from ring.counts(since, ring.whole)
            yield None

    def dropped(self, since: int) -> int:
        """How many requests from slot `since` on are known and not in the window."""
        return sum(count for slot, count in self._dropped.items() if slot >= since)

    @property
    def size(self) -> int:
        """Bytes that the rings take, about."""
        return sum(ring.size for ring in self._rings.values())

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return len(self._rings)

    def _note_loss(self, known: _Teller, report: Report, now: float) -> None:
        """Count what the report says is in none, and what an earlier agent counted of the same proxy and never told."""
        lost = report.left_out
        if report.agent != known.agent and report.proxy and report.proxy == known.proxy:
            lost += max(0, report.begun - known.total)
        known.proxy, known.total = report.proxy, report.total
        self._drop(lost, now)

    def _drop(self, requests: int, now: float) -> None:
        self.dropped_in_all += requests
        if requests:
            slot = slot_of(now)
            self._dropped[slot] = self._dropped.get(slot, 0) + requests

    def _add_sum(
        self, teller: Teller, told: EdgeSum, slot: int, past: dict[EdgeName, dict[int, Tally]], now: float
    ) -> None:
        name, tally = edge_name(teller, told), _tally(told)
        is_caller = told.reporter == "source"
        if slot < self._closed:
            if is_caller or not told.peer:  # a caller that has a proxy tells of its past itself
                past.setdefault(name, {}).setdefault(slot, Tally()).add(tally)
        else:
            into = self._open.setdefault(slot, _Open())
            total = into.of(teller.workload, name, is_caller, self._limits.edges_of_one)
            if total is None:
                self._drop(tally.requests, now)
                return
            total.add(tally)
        if is_caller and name.destination_workload:
            self._note_pair(name, slot)

    def _note_pair(self, name: EdgeName, slot: int) -> None:
        """The caller has told of these two."""
        told = self._told.setdefault(name.source, {})
        if name.destination_workload in told or len(told) < self._limits.edges_of_one:
            told[name.destination_workload] = max(slot, told.get(name.destination_workload, 0))

    def _names(self, asked: Asked) -> Iterator[EdgeName | None]:
        """Each edge that is asked for, once, though rings and slots change meanwhile. None between steps."""
        seen: set[EdgeName] = set()
        parts = [list(self._rings)]
        parts += [list(sums) for found in self._open.values() for sums in (found.callers, found.callees)]
        for names in parts:
            for number, name in enumerate(names):
                if number % _NAMES_AT_ONCE == 0:
                    yield None
                if asked.matches(name.source, name.destination, name.destination_workload) and name not in seen:
                    seen.add(name)
                    yield name

    def _fresh(self, name: EdgeName) -> Iterator[tuple[int, Tally]]:
        """What open slots have of an edge."""
        for slot, found in list(self._open.items()):  # whoever looks gives way in between
            if (tally := found.callers.get(name)) is not None:
                yield slot, tally
            if (tally := found.callees.get(name)) is not None and self._counts_callee(name, slot):
                yield slot, tally

    def _counts_callee(self, name: EdgeName, slot: int) -> bool:
        """Whether the callee's word counts: no caller's proxy has told of these two since shortly before."""
        return self._told.get(name.source, {}).get(name.destination_workload, 0) < slot - _NEAR

    def _close(self, slot: int, now: float) -> Iterator[None]:
        found = self._open.get(slot)
        if found is None:
            return
        for name in list(found.callers):
            self._file(name, name.source, slot, found.callers, now)
            yield
        for name in list(found.callees):
            if self._counts_callee(name, slot):
                self._file(name, name.destination_workload, slot, found.callees, now)
            yield
        del self._open[slot]

    def _file(self, name: EdgeName, owner: str, slot: int, sums: dict[EdgeName, Tally], now: float) -> None:
        """Move a sum into its ring, in one step, so that whoever looks sees it once."""
        tally = sums.pop(name)
        if ring := self._ring(name, owner, {slot: tally}, now):
            ring.add(slot, tally)

    def _ring(self, name: EdgeName, owner: str, cells: dict[int, Tally], now: float) -> Ring | None:
        """The ring of an edge; None, and counted, where there are too many."""
        ring = self._rings.get(name)
        if ring is not None:
            return ring
        known = self._tellers.setdefault(owner, _Teller(now))
        if known.edges >= self._limits.edges_of_one:
            self._drop(sum(tally.requests for tally in cells.values()), now)
            return None
        known.edges += 1
        self._owners[name] = owner
        self._rings[name] = ring = Ring(self._settled)
        return ring

    def _forget(self, name: EdgeName) -> None:
        del self._rings[name]
        owner = self._tellers.get(self._owners.pop(name))
        if owner is not None:
            owner.edges -= 1

    def _make_room(self, now: float) -> Iterator[None]:
        """Forget the quietest edges until all fit: those of tellers that take more than their share first."""
        limits, size = self._limits, self.size
        if len(self._rings) <= limits.edges and size <= limits.size:
            return
        of_each: Counter[str] = Counter()
        for name, ring in self._rings.items():
            of_each[self._owners[name]] += ring.size
        quietest = sorted(self._rings, key=lambda name: (self._rings[name].end, self._rings[name].size))
        for share in (limits.size // _SHARES, 0):
            for name in quietest:
                if len(self._rings) <= limits.edges * _FULL and size <= limits.size * _FULL:
                    return
                owner, found = self._owners.get(name, ""), self._rings.get(name)
                if found is None or of_each[owner] <= share:
                    continue
                size -= found.size
                of_each[owner] -= found.size
                self._drop(found.total(0, found.end).requests, now)
                self._forget(name)
                yield

    def _clean(self, current: int, now: float) -> None:
        for caller, told in list(self._told.items()):
            self._told[caller] = {callee: slot for callee, slot in told.items() if slot > current - HOUR_CHUNK}
        self._told = {caller: told for caller, told in self._told.items() if told}
        self._dropped = {slot: count for slot, count in self._dropped.items() if slot > current - DAY_SLOTS}
        self._tellers = {
            name: known for name, known in self._tellers.items() if known.edges or now - known.heard < KEPT_SECONDS
        }


def slot_of(seconds: float) -> int:
    """The number of the span of 10 s."""
    return int(seconds // CELL_SECONDS)


def _tally(told: EdgeSum) -> Tally:
    tally = Tally()
    for status, flags, grpc, count in told.outcomes:
        verdict = (CONNECTION if told.protocol == "tcp" else status, flag_bits(flags), int(grpc) if grpc else _NO_GRPC)
        tally.add_outcome(verdict, count)
    for number, count in told.bins:
        tally.bins[number] = tally.bins.get(number, 0) + count
    tally.sent, tally.received, tally.opened, tally.closed = told.sent, told.received, told.opened, told.closed
    return tally
