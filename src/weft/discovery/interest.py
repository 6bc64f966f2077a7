"""Interest: which resources of a snapshot a client is to hold, given what it subscribed to. Pure.

A name that a client asks for is answered with whatever the snapshot has by it. A wildcard brings all but what is on
demand; of that it brings the clusters of every service that the proxy uses: of which it asked for a cluster, now or in
earlier times (`remembered`). All of its subsets, so that a route that leads to another one takes effect without a
question, also when nobody is there to answer it. State-of-the-world clients have no demand: a wildcard brings them
everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from weft.discovery.shared import Shared, Touched
from weft.discovery.subscription import Subscription
from weft.xds.services.names import service_part
from weft.xds.snapshot import CLUSTER, Resource, XdsSnapshot


class Interest:
    """The rules of one session: whether it knows resources `on_demand`, and what is `remembered` of its proxy."""

    def __init__(self, shared: Shared, *, on_demand: bool, remembered: frozenset[str]) -> None:
        self._shared = shared
        self._on_demand = on_demand
        self._services = frozenset(map(service_part, remembered))

    def use(self, subscription: Subscription, names: Iterable[str], snapshot: XdsSnapshot) -> frozenset[str]:
        """The client asks for `names`. Returns the clusters on demand that it is given besides, if it has a wildcard:
        those of services that it did not use before."""
        asked = self.on_demand(subscription, names, snapshot)
        new = frozenset(map(service_part, asked)) - self._services
        self._services |= new
        return self._of(new, subscription, snapshot) - asked if new else new

    def target(self, subscription: Subscription, name: str, snapshot: XdsSnapshot) -> Resource | None:
        """What the client should hold by that name."""
        if name in subscription.names or (subscription.wildcard and self._brings(subscription, name)):
            return snapshot.get(subscription.type_url, name)
        return snapshot.eager(subscription.type_url, name) if subscription.wildcard else None

    def touched(self, subscription: Subscription, change: Touched) -> frozenset[str]:
        """Names by which the client should hold something else after a change."""
        eager, on_demand = change
        if not subscription.wildcard:
            eager &= subscription.names
        if on_demand and (self._on_demand or not subscription.wildcard):
            brought = on_demand & subscription.names
            if subscription.wildcard and subscription.type_url == CLUSTER:
                brought |= self._among(self._services, on_demand)
            return eager | brought if brought else eager
        return eager | on_demand if on_demand else eager

    def on_demand(self, subscription: Subscription, names: Iterable[str], snapshot: XdsSnapshot) -> frozenset[str]:
        """Of `names`, those of clusters that a client is not given unless it asks, or once asked."""
        if not self._on_demand or subscription.type_url != CLUSTER:
            return frozenset()
        if not any(layer.on_demand for layer in snapshot.layers):
            return frozenset()
        return frozenset(n for n in names if snapshot.get(CLUSTER, n) and not snapshot.eager(CLUSTER, n))

    def remembered(self, subscription: Subscription, snapshot: XdsSnapshot) -> frozenset[str]:
        """What is on demand, and what a wildcard brings all the same."""
        return self._of(self._services, subscription, snapshot)

    def _of(self, services: frozenset[str], subscription: Subscription, snapshot: XdsSnapshot) -> frozenset[str]:
        if not self._on_demand or subscription.type_url != CLUSTER or not services:
            return frozenset()
        layers = [layer for layer in snapshot.layers if layer.on_demand]
        found = frozenset().union(*(self._among(services, layer.of_type(CLUSTER)) for layer in layers))
        return self.on_demand(subscription, found, snapshot)

    def _among(self, services: frozenset[str], names: Collection[str]) -> frozenset[str]:
        """Of the `names` of clusters, those of these services."""
        known = self._shared.by_service(names)
        return frozenset().union(*(known[service] for service in services if service in known))

    def _brings(self, subscription: Subscription, name: str) -> bool:
        return not self._on_demand or (subscription.type_url == CLUSTER and service_part(name) in self._services)
