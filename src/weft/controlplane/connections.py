"""Connections: what follows from proxies' streams: registrations they hold, memory of what they ask for and got."""

from __future__ import annotations

from collections.abc import Callable

from weft.admin.history.resources import Watch
from weft.model.workload import Workload
from weft.sources.demand import Demand
from weft.sources.leases import Leases
from weft.xds.snapshot import XdsSnapshot


class Connections:
    """The hub's observer (`weft.discovery.observer.Observer`)."""

    def __init__(
        self, leases: Leases, demand: Demand, watch: Watch, workload: Callable[[str], Workload | None]
    ) -> None:
        self._leases = leases
        self._demand = demand
        self._watch = watch
        self._workload = workload

    def attached(self, proxy: str) -> None:
        """The first stream of a proxy is open: it holds the registration, unless that is the cluster's."""
        workload = self._workload(proxy)
        self._leases.attached(proxy, leased=workload is None or not workload.pod)

    def detached(self, proxy: str) -> None:
        """The last stream of a proxy has ended."""
        self._leases.detached(proxy)

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        """The proxy of a workload asked for clusters that are on demand."""
        self._demand.asked(workload, names)

    def offered(self, proxy: str, before: XdsSnapshot | None, after: XdsSnapshot) -> None:
        """A connected proxy is offered another snapshot than before."""
        self._watch.offered(proxy, before, after)
