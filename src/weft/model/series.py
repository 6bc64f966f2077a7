"""Series: what a proxy has counted of one kind of traffic, told apart by who, where and how it ended. All counts only
grow, from the start of the proxy, until it forgets a series that nothing was added to for long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Bins = tuple[tuple[float, float, int], ...]
"""A sketch of values: lower bound, width and count of each bin that is not empty, in order. The bounds are the same in
every proxy (two digits of a decimal number), so sketches can be added and subtracted bin by bin."""

Reporter = Literal["source", "destination"]
SeriesProtocol = Literal["http", "grpc", "tcp"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The workload at the other side, as its certificate says."""

    workload: str
    namespace: str
    service: str
    revision: str
    principal: str
    """Its SPIFFE ID, ``spiffe://...``."""
    owner: str = ""
    """What made it, where it is a Pod: the name of a Deployment, or of whatever else people write."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What tells series apart.

    `service` is the full name of the destination's Service, `port` its port and `subset` its subset ("" where there is
    none, or it is not known). `peer` is the other side: the callee of a "source", the caller of a "destination"; None
    without mutual TLS, and where no connection was made. `code` is the HTTP status (0: the connection ended before
    one, or TCP), `flags` Envoy's response flags ("-": none), `grpc_status` the number of a gRPC status, `route`
    ``KIND NAMESPACE/NAME`` of the document that made the route. `forwarded` is False where a "source" chose no server:
    the proxy answered by itself.
    """

    reporter: Reporter
    protocol: SeriesProtocol
    service: str = ""
    port: int = 0
    subset: str = ""
    peer: Peer | None = None
    code: int = 0
    flags: str = "-"
    grpc_status: str = ""
    route: str = ""
    forwarded: bool = True

    @property
    def mtls(self) -> bool:
        """Whether the call was under mutual TLS, both sides having proven who they are."""
        return self.peer is not None


@dataclass(frozen=True, slots=True)
class Series:
    """Its key, and what was counted. Requests have `duration` (milliseconds) and the bytes of their bodies as sketches;
    connections have `opened`, `closed` and bytes as numbers. `received` is what came from the client, `sent` what went
    back to it."""

    key: SeriesKey
    count: int = 0
    duration: Bins = ()
    received: Bins = ()
    sent: Bins = ()
    opened: int = 0
    closed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


def bins_count(bins: Bins) -> int:
    """How many values there are."""
    return sum(count for _, _, count in bins)


def bins_sum(bins: Bins) -> float:
    """What the values add up to, to within half the width of their bins (5 % at most)."""
    return sum((lower + width / 2) * count for lower, width, count in bins)


def quantile(bins: Iterable[tuple[float, float, int]], share: float) -> float | None:
    """The value below which `share` (0 to 1) of the values lie, or None if there are none."""
    ordered = sorted(bins)
    total = sum(count for _, _, count in ordered)
    if not total:
        return None
    rank, seen = share * total, 0
    for lower, width, count in ordered:
        if seen + count >= rank:
            return lower + width * max(0.0, rank - seen) / count
        seen += count
    return ordered[-1][0] + ordered[-1][1]
