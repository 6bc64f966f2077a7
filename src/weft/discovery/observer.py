"""An Observer of the hub: who is connected, and what proxies asked for on demand."""

from __future__ import annotations

from typing import Protocol

from weft.model.workload import Workload


class Observer(Protocol):
    """Called by the hub, on the event loop's thread; must return at once."""

    def attached(self, proxy: str) -> None:
        """The first stream of a proxy is open."""

    def detached(self, proxy: str) -> None:
        """The last stream of a proxy has ended."""

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """The proxy of a workload asked for clusters that are on demand, perhaps not for the first time."""


class NoObserver:
    """Takes note of nothing."""

    def attached(self, proxy: str) -> None:
        """See `Observer`."""

    def detached(self, proxy: str) -> None:
        """See `Observer`."""

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """See `Observer`."""
