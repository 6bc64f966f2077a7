"""Taps: who watches which requests now, what agents are told of it, and the requests on their way to who watches."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from weft.explain.journal import Journal, Noted
from weft.model.requests import RequestSeen, RequestsReport, TapFilter, TapOrder, fitting

ValueT = TypeVar("ValueT")
LONGEST_SECONDS = 600.0
MOST_RATE = 100
_MOST_TAPS = 32
_WAITING = 500
_ORDER_SECONDS = 15.0
"""How long an agent watches without hearing of it again: what is left on, by whatever fault, ends then."""
_PEERS = 8


class TooManyTapsError(Exception):
    """More people watch at once than is allowed."""


@dataclass(slots=True, eq=False)
class Tap:
    """One person who watches one workload. `peers` are workloads on the other side, which are watched for their part;
    `lost` counts what this tap could not take, `until` is on the monotonic clock."""

    number: int
    workload: str
    filter: TapFilter
    rate: int
    until: float
    queue: asyncio.Queue[Noted] = field(default_factory=lambda: asyncio.Queue(_WAITING))
    peers: set[str] = field(default_factory=set)
    lost: int = 0
    _ids: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _early: OrderedDict[str, Noted] = field(default_factory=OrderedDict)

    def wanted(self, noted: Noted) -> None:
        """A request that is wanted, as the proxy saw it that is watched; then what the other side has told of it."""
        self.offer(noted)
        if noted.seen.id:
            _remember(self._ids, noted.seen.id, None)
            early = self._early.pop(noted.seen.id, None)
            if early is not None:
                self.offer(early)

    def other_side(self, noted: Noted) -> None:
        """A request as the other side saw it, which may come first: rules may have rewritten its path, so its id says
        whether it is wanted."""
        if noted.seen.id in self._ids:
            self.offer(noted)
        elif noted.seen.id:
            _remember(self._early, noted.seen.id, noted)

    def offer(self, noted: Noted) -> None:
        """A request that somebody's proxy saw."""
        try:
            self.queue.put_nowait(noted)
        except asyncio.QueueFull:
            self.lost += 1


class Taps:
    """Owns who watches, and the journal. `clock` is monotonic, `now` seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.journal = Journal()
        self._clock = clock
        self._taps: dict[int, Tap] = {}
        self._numbers = itertools.count(1)

    def open(self, workload: str, wanted: TapFilter, rate: int, seconds: float) -> Tap:
        """Begin to watch a workload (``NAMESPACE/NAME``). `close` it."""
        if len(self._taps) >= _MOST_TAPS:
            raise TooManyTapsError
        until = self._clock() + min(seconds, LONGEST_SECONDS)
        tap = Tap(next(self._numbers), workload, wanted, max(1, min(rate, MOST_RATE)), until)
        self._taps[tap.number] = tap
        return tap

    def close(self, tap: Tap) -> None:
        """Watch no more."""
        self._taps.pop(tap.number, None)

    def expired(self, tap: Tap) -> bool:
        """Whether its time is over."""
        return self._clock() >= tap.until

    def __len__(self) -> int:
        return len(self._taps)

    def take(self, workload: str, report: RequestsReport) -> TapOrder | None:
        """What an agent reports of its workload's proxy; the answer is what it is to watch."""
        report = fitting(report, self._now())
        failed = [seen for seen in report.requests if not seen.tapped]
        if failed or report.left_out:
            self.journal.add(workload, failed, report.left_out)
        for tap in self._taps.values():
            tap.lost += report.untapped if tap.workload == workload else 0
            for seen in report.requests:
                if seen.tapped:
                    self._hand(tap, workload, seen)
        return self._order(workload)

    def _hand(self, tap: Tap, workload: str, seen: RequestSeen) -> None:
        if workload == tap.workload and tap.filter.covers(seen):
            other = _workload_of(seen.peer)
            if other and other != workload and len(tap.peers) < _PEERS:
                tap.peers.add(other)
            tap.wanted(Noted(workload, seen))
        elif workload in tap.peers and _workload_of(seen.peer) == tap.workload:
            tap.other_side(Noted(workload, seen))

    def _order(self, workload: str) -> TapOrder | None:
        wanted = tuple(self._wanted(workload))
        if not wanted:
            return None
        filters = tuple(dict.fromkeys(one for one, _ in wanted))
        return TapOrder(filters, max(rate for _, rate in wanted), _ORDER_SECONDS)

    def _wanted(self, workload: str) -> Iterator[tuple[TapFilter, int]]:
        now = self._clock()
        for tap in self._taps.values():
            if now >= tap.until:
                continue
            if tap.workload == workload:
                yield tap.filter, tap.rate
            elif workload in tap.peers:
                yield TapFilter(method=tap.filter.method, peer=_proxy_of(tap.workload)), tap.rate


def _remember(table: OrderedDict[str, ValueT], name: str, value: ValueT) -> None:
    """Note something; the oldest makes room."""
    table[name] = value
    while len(table) > _WAITING:
        table.popitem(last=False)


def _workload_of(proxy: str) -> str:
    """``NAMESPACE/NAME`` of ``NAME.NAMESPACE``."""
    name, dot, namespace = proxy.partition(".")
    return f"{namespace}/{name}" if dot else ""


def _proxy_of(workload: str) -> str:
    namespace, _, name = workload.partition("/")
    return f"{name}.{namespace}"
