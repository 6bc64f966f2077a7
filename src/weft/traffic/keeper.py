"""The keeper of the window: the one task that takes reports in and makes room, a few milliseconds at a time."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable

from weft.aio.cell import Cell
from weft.aio.turns import Turns
from weft.model.bins import bounds_of
from weft.model.report import CELL_SECONDS, KEPT_SECONDS, Report, ReportAnswer
from weft.traffic.answers import Answers
from weft.traffic.edges import ALL, Asked, Edge, Point
from weft.traffic.edges import Window as Seen
from weft.traffic.latency import Bins
from weft.traffic.names import EdgeName, Teller
from weft.traffic.pace import Pace
from weft.traffic.points import Points
from weft.traffic.tally import Tally
from weft.traffic.verdict import CONNECTION, flag_text
from weft.traffic.window import DEFAULT_LIMITS, Window, WindowLimits, slot_of

SHORTEST_INTERVAL = 2.0
REPORTS_PER_SECOND = 200
WAITING = 1024
WAITING_OF_ONE = 4
WAITING_SUMS = 50_000
"""Reports that wait to be taken in, in all, of one teller, and the edges in them; further ones are to be sent again."""
_TICK_SECONDS = 1.0
_REFILLED_SECONDS = 180.0
"""After which agents have told their last hour to a control plane that is new."""
_BEFORE = 400_000.0
"""Added to the monotonic clock, which may have begun just now: the window reaches back before it."""
_AGAIN_SECONDS = 5.0
_AT_ONCE = 8
"""Reports of one workload, after which each wants a second: four times what an honest agent sends."""
_log = logging.getLogger("weft.traffic")


class TrafficKeeper:
    """Reports go in by `submit`, questions are those of `weft.traffic.edges.Traffic`. `tellers` is how many may report:
    the more, the more seldom each does."""

    def __init__(
        self,
        tellers: Callable[[], int],
        limits: WindowLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._tellers = tellers
        self._monotonic = clock
        self._wall = wall
        self._window = Window(self._now(), limits)
        self._instance = uuid.uuid4().hex
        self._waiting: deque[tuple[Teller, Report, float]] = deque()
        self._of_one: Counter[str] = Counter()
        self._sums = 0
        self._come = asyncio.Event()
        self._version = Cell(0)
        self._answers = Answers()
        self._pace = Pace(_AT_ONCE, SHORTEST_INTERVAL / 2)
        self._has_said = False

    @property
    def size(self) -> int:
        """Bytes that the window takes, about."""
        return self._window.size

    @property
    def edge_count(self) -> int:
        """How many edges it has."""
        return self._window.edges

    @property
    def dropped(self) -> int:
        """How many requests were told of and are in no edge, since the start."""
        return self._window.dropped_in_all

    def turn_away(self, teller: Teller) -> ReportAnswer | None:
        """The answer to somebody who reports more often than he may, before anything of the report is decoded; None
        for all others. Each question counts."""
        if self._pace.allows(teller.workload, self._now()):
            return None
        return ReportAnswer(self._instance, max(self._interval(), _AGAIN_SECONDS), again=True)

    def submit(self, teller: Teller, report: Report) -> ReportAnswer:
        """Take a report, to be added soon; or, with too many waiting, ask for it again."""
        interval = self._interval()
        sums = sum(len(cell.edges) for cell in report.cells)
        full = len(self._waiting) >= WAITING or self._sums + sums > WAITING_SUMS
        if full or self._of_one[teller.workload] >= WAITING_OF_ONE:
            return ReportAnswer(self._instance, max(interval, _AGAIN_SECONDS), again=True)
        self._waiting.append((teller, report, self._now()))
        self._of_one[teller.workload] += 1
        self._sums += sums
        self._come.set()
        return ReportAnswer(self._instance, interval)

    def _interval(self) -> float:
        return max(SHORTEST_INTERVAL, self._tellers() / REPORTS_PER_SECOND)

    async def run(self) -> None:
        """Add what comes, for ever."""
        while True:
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._come.wait()
            except TimeoutError:
                pass
            self._come.clear()
            try:
                await self.take()
            except Exception:  # what cannot be added is lost; the window must not end the control plane
                if not self._has_said:
                    _log.exception("the window of traffic: a fault, said once")
                self._has_said = True

    async def take(self) -> None:
        """Add what waits, and put in order what is over."""
        turns, added = Turns(), False
        while self._waiting:
            teller, report, came = self._waiting.popleft()
            self._sums -= sum(len(cell.edges) for cell in report.cells)
            self._of_one[teller.workload] -= 1
            if not self._of_one[teller.workload]:
                del self._of_one[teller.workload]
            added |= self._window.add(teller, report, came)
            await turns.give()
        for _ in self._window.advance(self._now()):
            await turns.give()
        if added:
            self._version.set(self._version.value + 1)

    async def changed(self, after: int) -> int:
        """See `weft.traffic.edges.Traffic`."""
        return await self._version.changed(after)

    async def window(self, seconds: float, asked: Asked = ALL) -> Seen:
        """See `weft.traffic.edges.Traffic`. What begins in the midst of a longer span begins with that span. What took
        long is the answer for some time to whoever asks the same: questions have a small share of the time."""
        return await self._answers.of(("window", seconds, asked), lambda: self._look(seconds, asked))

    async def _look(self, seconds: float, asked: Asked) -> Seen:
        now, turns = self._now(), Turns()
        since = self._window.since(seconds, now)
        shift = self._wall() - now
        sums: dict[EdgeName, tuple[Tally, int]] = {}
        for row in self._window.totals(since, asked):
            await turns.give()
            if row is not None:
                name, tally, newest = row
                key = name if asked.by_route else name._replace(route="")
                before = sums.get(key)
                if before is not None:
                    tally.add(before[0])
                    newest = max(newest, before[1])
                sums[key] = (tally, newest)
        found = []
        for name, (tally, newest) in sums.items():
            found.append(_edge(name, tally, min(now, (newest + 1) * CELL_SECONDS) + shift))
            await turns.give()
        start, begun = since * CELL_SECONDS, self._begun(now)
        dropped = self._window.dropped(since)
        if start >= begun:
            return Seen(start + shift, now + shift, tuple(found), True, dropped)
        return Seen(start + shift, now + shift, tuple(found), False, dropped, begun + shift)

    async def series(self, seconds: float, step: int, asked: Asked = ALL) -> tuple[Point, ...]:
        """See `weft.traffic.edges.Traffic`. Where latencies and bytes are kept in longer spans than `step`, each point
        of such a span has the span's latencies and its share of the bytes."""
        question = ("series", seconds, step, asked)
        return await self._answers.of(question, lambda: self._points(seconds, step, asked))

    async def _points(self, seconds: float, step: int, asked: Asked) -> tuple[Point, ...]:
        now, turns = self._now(), Turns()
        first = slot_of(now - seconds)
        points = Points(first - first % (step // CELL_SECONDS), slot_of(now), step // CELL_SECONDS)
        for cell in self._window.cells(points.since, asked):
            await turns.give()
            if cell is not None:
                points.add(*cell)
        for count in self._window.counts(points.since, asked):
            await turns.give()
            if count is not None:
                points.add_count(*count)
        shift = self._wall() - now
        return tuple(
            Point(slot * CELL_SECONDS + shift, requests, failures, _bins(bins), received, sent)
            for slot, requests, failures, bins, sent, received in points.all()
        )

    def _now(self) -> float:
        return self._monotonic() + _BEFORE

    def _begun(self, now: float) -> float:
        """From when on agents have told everything."""
        begun = self._window.begun
        return begun - KEPT_SECONDS if now - begun > _REFILLED_SECONDS else begun


def _edge(name: EdgeName, tally: Tally, last_seen: float) -> Edge:
    codes: dict[str, int] = {}
    flags: dict[str, int] = {}
    for (status, bits, grpc), count in tally.outcomes.items():
        if status != CONNECTION:
            code = f"grpc {grpc}" if grpc >= 0 else str(status)
            codes[code] = codes.get(code, 0) + count
        for flag in flag_text(bits).split(",") if bits else ():
            flags[flag] = flags.get(flag, 0) + count
    return Edge(
        source=name.source,
        source_service=name.source_service,
        destination=name.destination,
        destination_workload=name.destination_workload,
        port=name.port,
        protocol=name.protocol,
        mtls=name.mtls,
        requests=tally.requests,
        failures=tally.failures,
        codes=tuple(sorted(codes.items())),
        flags=tuple(sorted(flags.items())),
        latency=_bins(tally.bins),
        bytes_sent=tally.received,
        bytes_received=tally.sent,
        connections_opened=tally.opened,
        connections_closed=tally.closed,
        last_seen=last_seen,
        route=name.route,
    )


def _bins(bins: dict[int, int]) -> Bins:
    return tuple((*bounds_of(number), count) for number, count in sorted(bins.items()))
