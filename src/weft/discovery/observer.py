"""An Observer of the hub: who is connected, what proxies asked for, and what they are offered."""

from __future__ import annotations

from typing import Protocol

from weft.model.workload import Workload
from weft.xds.snapshot import XdsSnapshot


class Observer(Protocol):
    """Called by the hub, on the event loop's thread; must return at once."""

    def attached(self, proxy: str) -> None:
        """The first stream of a proxy is open."""

    def detached(self, proxy: str) -> None:
        """The last stream of a proxy has ended."""

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """The proxy of a workload asked for clusters that are on demand, perhaps not for the first time."""

    def offered(self, proxy: str, before: XdsSnapshot | None, after: XdsSnapshot) -> None:
        """A connected proxy is offered another snapshot than before."""


class NoObserver:
    """Takes note of nothing."""

    def attached(self, proxy: str) -> None:
        """See `Observer`."""

    def detached(self, proxy: str) -> None:
        """See `Observer`."""

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """See `Observer`."""

    def offered(self, proxy: str, before: XdsSnapshot | None, after: XdsSnapshot) -> None:
        """See `Observer`."""
