"""The state-of-the-world variant of xDS (StreamAggregatedResources), which gRPC clients speak. Pure.

A response for clusters or listeners holds everything subscribed, and what is missing from it is gone; a response for
the other types holds what changed. A refused resource stays in later responses as the version accepted before. A new
stream is sent everything: the version a client names is that of the last response it accepted, and of one it refused
later it may hold the good resources all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from weft.discovery import wire
from weft.discovery.session import Items, Outgoing, RefusedRequestError, Session
from weft.discovery.shared import combined_version
from weft.discovery.subscription import ABSENT, UNKNOWN, Flight, Rejection, Subscription
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

    def receive(self, request: SotwRequest) -> tuple[Rejection, ...]:
        """Take in a request; returns what it refuses. Raises RefusedRequestError if it breaks a limit."""
        if not request.type_url:
            raise RefusedRequestError("no-type", "a request on an aggregated stream must name a type_url")
        self._check_names(request.names, len(request.names))
        subscription, first = self._subscription(request.type_url)
        if first:
            self._resubscribe(subscription, request.names)
            subscription.greet = subscription.type_url in _WHOLE and not subscription.pending
            return ()
        if request.nonce != subscription.nonce:
            return ()
        refused: tuple[Rejection, ...] = ()
        if subscription.flight is not None:
            refused = self._answered(subscription, request.error)
        self._resubscribe(subscription, request.names)
        subscription.tidy()
        return refused

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
        subscription.names = self._shared.names(explicit)
        subscription.wildcard = wildcard
        for name in before - explicit:
            self._forget(subscription, name)
        for name in explicit - before:
            self._expect(subscription, name, UNKNOWN)
        if newly_wildcard:
            for resource in self.snapshot.of_type(subscription.type_url):
                if resource.name not in explicit:
                    self._expect(subscription, resource.name, UNKNOWN)

    def _suspects(self, subscription: Subscription, changed: dict[str, Resource]) -> list[str]:  # noqa: ARG002
        """All of them: a whole response cannot be cut into parts."""
        return list(changed)

    def _accepted_besides(self, flight: Flight, changed: dict[str, Resource], bad: list[str]) -> list[str]:
        """Both Envoy and gRPC apply the resources of a refused response that they do not blame."""
        return [name for name in flight.sent if name not in changed or name not in bad]

    def _loaded(self) -> bool:
        return bool(self.subscriptions)

    def _compose(self, subscription: Subscription, items: Items, *, removal: bool) -> Outgoing | None:
        sent = dict(items)
        if subscription.type_url in _WHOLE:
            version, resources = self._whole(subscription, sent, removal=removal)
        else:
            present = [resource for resource in sent.values() if resource is not None]
            for name, resource in items:
                if resource is None:
                    del sent[name]
                    self._accepted(subscription, name, None)
            if not present:
                return None
            version = combined_version(sorted((resource.name, resource.version) for resource in present))
            resources = wire.framed_resources(resource.any_bytes for resource in present)
        nonce = self._launch(subscription, sent, removal=removal)
        body = wire.sotw_response(subscription.type_url, nonce, version, resources)
        self._count(subscription, body, len(sent))
        return Outgoing(subscription.type_url, nonce, body)

    def _whole(
        self, subscription: Subscription, sent: dict[str, Resource | None], *, removal: bool
    ) -> tuple[str, bytes]:
        """Version and framed resources of everything the client should hold after this response."""
        if subscription.wildcard and not self._rejected and not self._leaving(subscription, removal=removal):
            return self._shared.whole_type(self.snapshot, subscription.type_url)
        held = sorted(self._effective(subscription, sent, removal=removal), key=lambda resource: resource.name)
        version = combined_version((resource.name, resource.version) for resource in held)
        return version, wire.framed_resources(resource.any_bytes for resource in held)

    def _leaving(self, subscription: Subscription, *, removal: bool) -> list[Resource]:
        """Resources gone from the snapshot that the client must keep until nothing needs them."""
        if removal:
            return []
        return [
            entry.old
            for name, entry in subscription.pending.items()
            if entry.old is not None and entry.held != ABSENT and self.snapshot.get(subscription.type_url, name) is None
        ]

    def _effective(
        self, subscription: Subscription, sent: dict[str, Resource | None], *, removal: bool
    ) -> Iterator[Resource]:
        yield from self._leaving(subscription, removal=removal)
        if subscription.wildcard:
            wanted: Iterator[Resource | None] = self.snapshot.of_type(subscription.type_url)
        else:
            wanted = (self.snapshot.get(subscription.type_url, name) for name in subscription.names)
        for resource in wanted:
            if resource is None:
                continue
            entry = subscription.pending.get(resource.name)
            if entry is None or resource.name in sent or not self._held_back(subscription, resource):
                yield resource
            elif entry.old is not None:
                yield entry.old
