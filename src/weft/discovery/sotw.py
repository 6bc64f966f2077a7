"""The state-of-the-world variant of xDS (StreamAggregatedResources), which gRPC clients speak. Pure.

A response for clusters or listeners holds everything subscribed, and what is missing from it is gone; a response for
the other types holds what changed. A refused resource stays in later responses as the version accepted before. A new
stream is sent everything: the version a client names is that of the last response it accepted, and of one it refused
later it may hold the good resources all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.discovery import wire
from weft.discovery.session import Outgoing, RefusedRequestError, Session
from weft.discovery.shared import combined_version
from weft.discovery.states import UNKNOWN
from weft.discovery.subscription import Batch, Flight, Rejection, Subscription
from weft.xds.snapshot import CLUSTER, LISTENER, Resource

_WHOLE = (CLUSTER, LISTENER)


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest: what of it matters here. `error` is the message of a NACK."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


class SotwSession(Session):
    """One state-of-the-world stream."""

    variant = "sotw"
    on_demand = False
    applies_rest = True  # both Envoy and gRPC apply the resources of a refused response that they do not blame

    def receive(self, request: SotwRequest) -> tuple[Rejection, ...]:
        """Take in a request; returns what it refuses. Raises RefusedRequestError if it breaks a limit."""
        if not request.type_url:
            raise RefusedRequestError("no-type", "a request on an aggregated stream must name a type_url")
        self._check_names(request.names, len(request.names))
        subscription, first = self._subscription(request.type_url)
        if first:
            self._resubscribe(subscription, request.names)
            waiting = subscription.records or subscription.loading
            subscription.owes_answer = subscription.type_url in _WHOLE and not waiting
            return ()
        if request.nonce != subscription.nonce:
            return ()
        refused: tuple[Rejection, ...] = ()
        if subscription.flight is not None:
            refused = self._answered(subscription, request.error)
        self._resubscribe(subscription, request.names)
        subscription.tidy()
        return refused

    def next(self, most: int | None = None) -> Outgoing | None:
        """See `Session.next`. That a resource is gone can be said of clusters and listeners only: of others it counts
        as said."""
        for subscription in self.subscriptions.values():
            if subscription.records and subscription.flight is None and subscription.type_url not in _WHOLE:
                for name, resource in self._ready(subscription):
                    if resource is None:
                        self._accepted(subscription, name, subscription.records[name], None)
        return super().next(most)

    def is_answer(self, request: SotwRequest) -> bool:
        """Whether a request accepts the response that is on the way."""
        known = self.subscriptions.get(request.type_url)
        return (
            known is not None
            and known.flight is not None
            and known.flight.nonce == request.nonce
            and request.error is None
        )

    def _resubscribe(self, subscription: Subscription, names: tuple[str, ...]) -> None:
        explicit = frozenset(names) - {"*"}
        whole = subscription.type_url in _WHOLE
        wildcard = "*" in names or (whole and not explicit and not subscription.names)
        if explicit == subscription.names and wildcard == subscription.wildcard:
            return
        before = subscription.names
        if subscription.wildcard and not wildcard:
            for resource in self.snapshot.of_type(subscription.type_url):
                self._forget(subscription, resource.name)
            before = frozenset()
        newly_wildcard = wildcard and not subscription.wildcard
        self._forget_names(subscription.names - explicit)
        self._keep_names(explicit - subscription.names)
        subscription.names = self._shared.names(explicit)
        subscription.wildcard = wildcard
        for name in before - explicit:
            self._forget(subscription, name)
        for name in sorted(explicit - before):
            self._expect(subscription, name, UNKNOWN)
        if newly_wildcard and explicit:
            for resource in self.snapshot.of_type(subscription.type_url):
                if resource.name not in explicit:
                    self._expect(subscription, resource.name, UNKNOWN)
        elif newly_wildcard:
            for index in range(len(self.snapshot.layers)):
                self._load(subscription, index)

    def _suspects(self, subscription: Subscription, names: list[str]) -> list[str]:  # noqa: ARG002
        """All of them: a whole response cannot be cut into parts."""
        return names

    @property
    def loaded(self) -> bool:
        """See `Session.loaded`."""
        return bool(self.subscriptions)

    def _choose(self, subscription: Subscription) -> tuple[dict[str, Resource | None], tuple[Batch, ...]]:
        items = self._ready(subscription)
        if subscription.type_url in _WHOLE and not subscription.nonce:
            ready = dict(items)
            if any(n not in ready and not self._stays(subscription, n, r) for n, r in subscription.records.items()):
                return {}, ()  # from the first response on a stream nothing may be missing: it may be in use
        return dict(items), subscription.loading

    def _encode(self, subscription: Subscription, flight: Flight) -> bytes:
        kind = subscription.type_url
        if kind in _WHOLE:
            version, resources = self._whole(subscription, flight)
        else:
            held = flight.resources()
            version = combined_version(sorted((name, resource.version) for name, resource in held.items()))
            resources = wire.framed_resources(resource.any_bytes for resource in held.values())
        return wire.sotw_response(kind, flight.nonce, version, resources)

    def _whole(self, subscription: Subscription, flight: Flight) -> tuple[str, bytes]:
        """Version and framed resources of everything the client should hold after this response."""
        if subscription.wildcard and subscription.records.keys() <= flight.sent.keys():
            return self._shared.whole_type(self.snapshot, subscription.type_url)
        wanted: dict[str, Resource | None] = {name: record.content for name, record in subscription.records.items()}
        if subscription.wildcard:
            present = {resource.name: resource for resource in self.snapshot.of_type(subscription.type_url)}
        else:
            present = {name: one for name in subscription.names if (one := self._target(subscription, name))}
        held = {**present, **wanted, **flight.sent}
        resources = [held[name] for name in sorted(held)]
        found = [resource for resource in resources if resource is not None]
        version = combined_version((resource.name, resource.version) for resource in found)
        return version, wire.framed_resources(resource.any_bytes for resource in found)
