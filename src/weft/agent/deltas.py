"""Deltas: what Envoy has counted since it was last asked, added up by edge. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.agent.series import Reading
from weft.model.bins import bin_of
from weft.model.report import MAX_EDGES, MAX_OUTCOMES, EdgeSum, Outcome
from weft.model.series import Bins, Series, SeriesKey

_ANSWERED = frozenset({"-", "DI"})
"""Flags of calls that a server answered. Of others nobody knows whether one was reached, and under what protection."""
_EdgeKey = tuple[str, str, str, int, str, str, bool | None, str]
_KEPT = MAX_OUTCOMES - 8


class EdgeCount:
    """An EdgeSum that grows."""

    __slots__ = ("bins", "closed", "opened", "outcomes", "received", "sent")

    def __init__(self) -> None:
        self.outcomes: dict[tuple[int, str, str], int] = {}
        self.bins: dict[int, int] = {}
        self.sent = self.received = self.opened = self.closed = 0

    def add(self, other: EdgeCount) -> None:
        """Add another to this one."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count
        self.sent += other.sent
        self.received += other.received
        self.opened += other.opened
        self.closed += other.closed

    @property
    def requests(self) -> int:
        """How many."""
        return sum(self.outcomes.values())

    @property
    def has_any(self) -> bool:
        """Whether anything was counted."""
        return bool(self.outcomes or self.bins or self.sent or self.received or self.opened or self.closed)

    def told(self, key: _EdgeKey) -> EdgeSum:
        """As a report says it."""
        reporter, protocol, service, port, peer, peer_service, mtls, route = key
        return EdgeSum(
            reporter,  # type: ignore[arg-type]
            protocol,  # type: ignore[arg-type]
            service,
            port,
            peer,
            peer_service,
            mtls,
            route,
            tuple(_bounded(self.outcomes)),
            tuple(sorted(self.bins.items())),
            self.sent,
            self.received,
            self.opened,
            self.closed,
        )


EdgeCounts = dict[_EdgeKey, EdgeCount]


@dataclass(frozen=True, slots=True)
class Delta:
    """What was added: by edge, and how many requests no series has. `total` is what Envoy had counted, of which only
    this proxy can tell."""

    edges: EdgeCounts
    left_out: int
    total: int


class Deltas:
    """Of one Envoy after the other. `proxy` names the process: what another one has counted begins at nothing."""

    def __init__(self) -> None:
        self._proxy: str | None = None
        self._series: dict[SeriesKey, Series] = {}
        self._total = 0

    def adopt(self, proxy: str, reading: Reading) -> int:
        """Take an Envoy that has served before: what it has counted so far is not told again. How many requests that
        are of which only it can tell."""
        self._proxy = proxy
        self._series = {one.key: one for one in reading.series}
        self._total = sum(reading.requests.values())
        return _told_by_nobody_else(reading)

    def since_last(self, proxy: str, reading: Reading) -> Delta:
        """What is new, of a series that has shrunk all of it: Envoy had forgotten it and begun again."""
        if proxy != self._proxy:
            self._proxy, self._series, self._total = proxy, {}, 0
        edges: EdgeCounts = {}
        known = 0
        for one in reading.series:
            before = self._series.get(one.key)
            if before == one:
                continue
            count = _difference(one, before)
            if not count.has_any:
                continue
            known += count.requests if one.key.protocol != "tcp" else 0
            edges.setdefault(_edge_key(one.key), EdgeCount()).add(count)
        total = sum(reading.requests.values())
        left_out = max(0, total - self._total - known) if total >= self._total else 0
        self._series = {one.key: one for one in reading.series}
        self._total = total
        return Delta(edges, left_out, _told_by_nobody_else(reading))


def bounded_edges(edges: EdgeCounts, most: int = MAX_EDGES) -> tuple[list[EdgeSum], int]:
    """The edges with most requests, and how many requests the others have."""
    busy = sorted(edges.items(), key=lambda item: -item[1].requests - item[1].closed)
    return [count.told(key) for key, count in busy[:most]], sum(count.requests for _, count in busy[most:])


def _told_by_nobody_else(reading: Reading) -> int:
    """How many requests were sent from here, or came from callers without a proxy: of others the caller's tells."""
    called = [one for one in reading.series if one.key.reporter == "destination"]
    strangers = [one for one in called if one.key.peer is None or not one.key.peer.workload]
    return reading.requests.get("source", 0) + sum(one.count for one in strangers if one.key.protocol != "tcp")


def _difference(now: Series, before: Series | None) -> EdgeCount:
    if before is not None and (now.count < before.count or now.closed < before.closed or now.opened < before.opened):
        before = None
    count, key = EdgeCount(), now.key
    more = now.count - (before.count if before else 0)
    if more:
        count.outcomes[key.code, key.flags, key.grpc_status] = more
    if key.protocol == "tcp":
        count.opened = now.opened - (before.opened if before else 0)
        count.closed = now.closed - (before.closed if before else 0)
        count.sent = max(0, now.sent_bytes - (before.sent_bytes if before else 0))
        count.received = max(0, now.received_bytes - (before.received_bytes if before else 0))
        count.outcomes = {(0, key.flags, ""): count.closed} if key.flags != "-" and count.closed else {}
        return count
    for lower, width, added in _added(now.duration, before.duration if before else ()):
        number = bin_of(lower + width / 2)
        count.bins[number] = count.bins.get(number, 0) + added
    count.sent = _sum(_added(now.sent, before.sent if before else ()))
    count.received = _sum(_added(now.received, before.received if before else ()))
    return count


def _added(now: Bins, before: Bins) -> Iterable[tuple[float, float, int]]:
    counts = {(lower, width): count for lower, width, count in before}
    for lower, width, count in now:
        more = count - counts.get((lower, width), 0)
        if more > 0:
            yield lower, width, more


def _sum(bins: Iterable[tuple[float, float, int]]) -> int:
    return round(sum((lower + width / 2) * count if lower else 0 for lower, width, count in bins))


def _edge_key(key: SeriesKey) -> _EdgeKey:
    peer = key.peer
    mtls: bool | None = peer is not None
    if peer is None and key.reporter == "source" and not (key.forwarded and key.flags in _ANSWERED):
        mtls = None
    who = (
        (f"{peer.namespace}/{peer.workload}", f"{peer.namespace}/{peer.service}")
        if peer and peer.workload
        else ("", "")
    )
    return key.reporter, key.protocol, key.service, key.port, *who, mtls, key.route


def _bounded(outcomes: dict[tuple[int, str, str], int]) -> Iterable[Outcome]:
    """The most frequent ones, the others by the class of their status."""
    ordered = sorted(outcomes.items(), key=lambda item: -item[1])
    rest: dict[int, int] = {}
    for place, ((code, flags, grpc), count) in enumerate(ordered):
        if place < _KEPT or count == 0:
            yield code, flags, grpc, count
        else:
            rest[code // 100 * 100] = rest.get(code // 100 * 100, 0) + count
    for code, count in rest.items():
        yield min(code, 999), "-", "", count


def add_sums(edges: EdgeCounts, sums: Iterable[EdgeSum]) -> None:
    """Add what reports say to what is counted."""
    for one in sums:
        key = (one.reporter, one.protocol, one.service, one.port, one.peer, one.peer_service, one.mtls, one.route)
        count = EdgeCount()
        count.outcomes = {(code, flags, grpc): number for code, flags, grpc, number in one.outcomes}
        count.bins = dict(one.bins)
        count.sent, count.received, count.opened, count.closed = one.sent, one.received, one.opened, one.closed
        edges.setdefault(key, EdgeCount()).add(count)
