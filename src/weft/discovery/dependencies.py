"""What must wait for what on one stream: additions for what they require, removals for what still refers to them. Pure.

Both follow Envoy's "eventual consistency considerations"
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations).

* Listeners, routes and the configuration of filters wait for the clusters and secrets that they require, and for the
  endpoints that bear a cluster's name (a listener: also for those of its routes and filters), as far as the client
  asked for them and never held a version. It does not matter if those change meanwhile. Clusters and endpoints wait for
  nothing: Envoy holds back the ACK of clusters until they are warm, and for that it needs their endpoints. No listener
  waits for its routes or filters, because a client asks for those when it has the listener.
* Routes also wait for the configuration of the filters that they enable, and until the client has asked for it: a
  filter without its own configuration refuses everything. If the client refuses it, the routes come all the same.
* A resource is removed when no version that the client holds, or is being sent, of anything else refers to it. A
  version that the client brought from another stream, and one that it may have taken from a response it refused, is
  taken to refer to everything it could refer to.

So what is waited for is the answer to a particular resource, sent without waiting, and nothing can put that off.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from weft.discovery.shared import Shared
from weft.discovery.states import NEVER_HELD, Record, State
from weft.discovery.subscription import Subscription
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, Resource, XdsSnapshot

_WAITING = (LISTENER, ROUTES, EXTENSION)
_BEHIND = (ROUTES, EXTENSION)
"""What a client asks for when it has a listener that names it."""
_REFERRERS = {
    ROUTES: (LISTENER,),
    EXTENSION: (LISTENER, ROUTES),
    SECRET: (LISTENER, ROUTES, EXTENSION),
    CLUSTER: (LISTENER, ROUTES, EXTENSION),
    ENDPOINTS: (CLUSTER,),
}
"""Which types may refer to a type."""
Referrer = tuple[Subscription, str, Record]


class Anything:
    """Holds every name."""

    def __contains__(self, name: object) -> bool:
        return True


class Dependencies:
    """Asked by the session that owns `subscriptions` (the same mapping, which it goes on changing)."""

    def __init__(self, subscriptions: Mapping[str, Subscription], shared: Shared) -> None:
        self._subscriptions = subscriptions
        self._shared = shared

    def waits(self, resource: Resource, snapshot: XdsSnapshot) -> bool:
        """Whether `resource` needs something that the client is still to be given."""
        if resource.type_url == ROUTES and self._lacks_filters(resource, snapshot):
            return True
        if resource.type_url not in _WAITING or not any(map(self._is_settling, (CLUSTER, ENDPOINTS, SECRET))):
            return False
        for each in self._with_what_follows(resource, snapshot):
            clusters = self._shared.required(each, CLUSTER)
            if self._lacks(CLUSTER, clusters) or self._lacks(ENDPOINTS, clusters):
                return True
            if self._lacks(SECRET, self._shared.required(each, SECRET)):
                return True
        return False

    def hopeless(self, resource: Resource, snapshot: XdsSnapshot) -> bool:
        """Whether `resource` needs something that the client refuses, and has no earlier version of."""
        if resource.type_url not in _WAITING:
            return False
        refused = [
            (kind, name)
            for kind in (CLUSTER, SECRET)
            if (subscription := self._subscriptions.get(kind)) is not None
            for name in subscription.rejected
            if subscription.records[name].never_held
        ]
        return bool(refused) and any(
            name in self._shared.required(each, kind)
            for each in self._with_what_follows(resource, snapshot)
            for kind, name in refused
        )

    def referrers(self, type_url: str, name: str) -> Iterator[Referrer]:
        """What the client holds, or is being sent, that refers to a resource which is gone from the snapshot."""
        for kind in _REFERRERS.get(type_url, ()):
            subscription = self._subscriptions.get(kind)
            if subscription is None:
                continue
            for other, record in subscription.records.items():
                if name in self._refers(subscription, other, record, type_url):
                    yield subscription, other, record

    def referred(self, type_url: str) -> Container[str]:
        """Names of one type that have a referrer, in one pass: there may be thousands to remove."""
        found: set[str] = set()
        for kind in _REFERRERS.get(type_url, ()):
            subscription = self._subscriptions.get(kind)
            if subscription is None:
                continue
            for other, record in subscription.records.items():
                names = self._refers(subscription, other, record, type_url)
                if isinstance(names, Anything):
                    return names
                found |= names
        return found

    def _refers(
        self, subscription: Subscription, other: str, record: Record, type_url: str
    ) -> frozenset[str] | Anything:
        """Names of one type that the client's version of `other`, or the one on the way, refers to."""
        names: frozenset[str] = frozenset()
        if record.content is not None:
            names = self._shared.required(record.content, type_url)
        elif record.version not in NEVER_HELD:
            return Anything()
        if subscription.flight is not None:
            carried = subscription.flight.carried(other)
            if carried is not None:
                names |= self._shared.required(carried, type_url)
        return names

    def _with_what_follows(self, resource: Resource, snapshot: XdsSnapshot) -> Iterator[Resource]:
        yield resource
        if resource.type_url == LISTENER:
            for kind in _BEHIND:
                for name in self._shared.required(resource, kind):
                    if (behind := snapshot.get(kind, name)) is not None:
                        yield behind

    def _lacks_filters(self, routes: Resource, snapshot: XdsSnapshot) -> bool:
        """Whether the configuration of a filter that `routes` enable is still on its way to the client."""
        names = self._shared.required(routes, EXTENSION)
        if not names:
            return False
        subscription = self._subscriptions.get(EXTENSION)
        for name in names:
            if subscription is None or name not in subscription.names:
                if self._will_ask_for(name, snapshot):
                    return True
                continue
            record = subscription.records.get(name)
            if record is not None and record.never_held and record.state is not State.REFUSED:
                target = snapshot.get(EXTENSION, name)
                if target is not None and not self.hopeless(target, snapshot):
                    return True
        return False

    def _will_ask_for(self, name: str, snapshot: XdsSnapshot) -> bool:
        """Whether the client has, or will have, a listener with this slot."""
        listeners = self._subscriptions.get(LISTENER)
        return listeners is not None and any(
            name in self._shared.required(listener, EXTENSION) and listeners.state(listener.name) is not State.REFUSED
            for listener in snapshot.of_type(LISTENER)
        )

    def _is_settling(self, type_url: str) -> bool:
        subscription = self._subscriptions.get(type_url)
        return subscription is not None and subscription.outstanding + len(subscription.rejected) > 0

    def _lacks(self, type_url: str, names: frozenset[str]) -> bool:
        """Whether the client never held one of `names`. Clusters become warm without endpoints that it refuses."""
        subscription = self._subscriptions.get(type_url)
        if subscription is None or not names:
            return False
        if any(not names.isdisjoint(batch.names) for batch in subscription.batches()):
            return True
        return any(
            record.never_held and name in names and (type_url != ENDPOINTS or record.state is not State.REFUSED)
            for name, record in subscription.records.items()
        )
