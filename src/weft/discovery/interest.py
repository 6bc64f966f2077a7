"""Interest: which resources of a snapshot a client is to hold, given what it subscribed to. Pure.

A name that a client asks for is answered with whatever the snapshot has by it. A wildcard brings all but what is on
demand; of that it brings the clusters that the proxy asked for in earlier times (`remembered`), so that they need not
be asked for once more. State-of-the-world clients have no demand: a wildcard brings them everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.discovery.shared import Touched
from weft.discovery.subscription import Subscription
from weft.xds.snapshot import CLUSTER, Resource, XdsSnapshot


class Interest:
    """The rules of one session: whether it knows resources `on_demand`, and what is `remembered` of its proxy."""

    def __init__(self, *, on_demand: bool, remembered: frozenset[str]) -> None:
        self._on_demand = on_demand
        self._remembered = remembered

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
            brought = self._remembered if subscription.wildcard and subscription.type_url == CLUSTER else frozenset()
            on_demand = (on_demand & subscription.names) | (on_demand & brought)
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
        return self.on_demand(subscription, self._remembered, snapshot)

    def _brings(self, subscription: Subscription, name: str) -> bool:
        return not self._on_demand or (name in self._remembered and subscription.type_url == CLUSTER)
