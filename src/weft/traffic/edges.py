"""Edges: who called whom in a window of time, how often, how well and how fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from weft.traffic.latency import Bins


@dataclass(frozen=True, slots=True)
class Edge:
    """The calls of one workload to one port of a service that one workload answered, counted once.

    `source` and `destination_workload` are ``NAMESPACE/WORKLOAD``, empty where nobody knows; a gateway is its workload.
    `source_service` and `destination` are ``NAMESPACE/SERVICE``; a destination outside the mesh is its host. `mtls`
    None: not known. `failures` are the requests of `requests` that are no success: a 5xx, a response flag that says so,
    or a gRPC status that does. `codes` and `flags` count responses by status and by Envoy's response flags. Bytes are
    the caller's: sent with requests, received with responses. `last_seen` in seconds since the epoch. `route` is the
    object whose rule led there, ``KIND NAMESPACE/NAME``, where edges are told apart by it; else it is empty.
    """

    source: str
    source_service: str
    destination: str
    destination_workload: str
    port: int
    protocol: str
    mtls: bool | None = None
    requests: int = 0
    failures: int = 0
    codes: tuple[tuple[str, int], ...] = ()
    flags: tuple[tuple[str, int], ...] = ()
    latency: Bins = ()
    bytes_sent: int = 0
    bytes_received: int = 0
    connections_opened: int = 0
    connections_closed: int = 0
    last_seen: float = 0.0
    route: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen from `since` to `until` (seconds since the epoch). `complete`: reports cover all of it; `dropped`
    counts what was left out for want of room; where it is not complete, `known_since` is from when on it is."""

    since: float
    until: float
    edges: tuple[Edge, ...] = ()
    complete: bool = True
    dropped: int = 0
    known_since: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(0.0, self.until - self.since)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which edges: from a caller (``NAMESPACE/WORKLOAD``), to a service, that touch a workload; empty: any. `by_route`
    tells those apart that different rules led to."""

    source: str = ""
    destination: str = ""
    workload: str = ""
    by_route: bool = False

    def matches(self, source: str, destination: str, destination_workload: str) -> bool:
        """Whether an edge between these is among them."""
        return (
            self.source in ("", source)
            and self.destination in ("", destination)
            and self.workload in ("", source, destination_workload)
        )


ALL = Asked()


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in one step of a series, from `time` (seconds since the epoch) on."""

    time: float
    requests: int = 0
    failures: int = 0
    latency: Bins = ()
    bytes_sent: int = 0
    bytes_received: int = 0


class UnknownTrafficError(Exception):
    """Whoever should know the traffic does not; the text says why, and what to do."""


class Traffic(Protocol):
    """Whoever knows the traffic: the control plane's own window, or a Prometheus. Each question may raise
    UnknownTrafficError."""

    async def window(self, seconds: float, asked: Asked = ALL) -> Window:
        """What was seen in the last `seconds`."""

    async def series(self, seconds: float, step: int, asked: Asked = ALL) -> tuple[Point, ...]:
        """The same, told apart by time: a point for each `step` seconds, also where nothing happened."""

    async def changed(self, after: int) -> int:
        """Wait until something was added since version `after` (0: ever); the version now."""


class NoTraffic:
    """Knows of no traffic; `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def window(self, seconds: float, asked: Asked = ALL) -> Window:  # noqa: ARG002
        """See `Traffic`."""
        now = self._clock()
        return Window(now - seconds, now, complete=False)

    async def series(self, seconds: float, step: int, asked: Asked = ALL) -> tuple[Point, ...]:  # noqa: ARG002
        """See `Traffic`."""
        return ()

    async def changed(self, after: int) -> int:
        """See `Traffic`: nothing ever does."""
        return after
