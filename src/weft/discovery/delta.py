"""The delta variant of xDS (DeltaAggregatedResources): only what changed travels, by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.discovery import wire
from weft.discovery.session import Items, Outgoing, RefusedRequestError, Session
from weft.discovery.subscription import UNKNOWN, Flight, Rejection, Subscription
from weft.xds.snapshot import CLUSTER, LISTENER, Resource

_WILDCARD_BY_DEFAULT = (CLUSTER, LISTENER)


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest: what of it matters here. `error` is the message of a NACK."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


class DeltaSession(Session):
    """One delta stream."""

    variant = "delta"

    def receive(self, request: DeltaRequest) -> tuple[Rejection, ...]:
        """Take in a request; returns what it refuses. Raises RefusedRequestError if it breaks a limit."""
        if not request.type_url:
            raise RefusedRequestError("no-type", "a request on an aggregated stream must name a type_url")
        subscription, first = self._subscription(request.type_url)
        refused: tuple[Rejection, ...] = ()
        if request.nonce and subscription.flight is not None and subscription.flight.nonce == request.nonce:
            refused = self._answered(subscription, request.error)
        self._check_names(request.subscribe, len(request.subscribe) + len(subscription.names))
        if request.unsubscribe:
            self._unsubscribe(subscription, request.unsubscribe)
        if first:
            self._check_names(request.initial_versions, len(request.initial_versions))
            self._begin(subscription, request)
        elif request.subscribe:
            self._subscribe(subscription, request.subscribe, {})
        subscription.tidy()
        return refused

    def is_answer(self, request: DeltaRequest) -> bool:
        """Whether a request accepts the response that is on the way."""
        known = self.subscriptions.get(request.type_url)
        return (
            known is not None
            and known.flight is not None
            and known.flight.nonce == request.nonce
            and request.error is None
        )

    def _begin(self, subscription: Subscription, request: DeltaRequest) -> None:
        names = request.subscribe
        if not names and subscription.type_url in _WILDCARD_BY_DEFAULT:
            names = ("*",)
        self._subscribe(subscription, names, request.initial_versions)

    def _subscribe(self, subscription: Subscription, names: tuple[str, ...], held: Mapping[str, str]) -> None:
        explicit = frozenset(names)
        if "*" in explicit:
            explicit -= {"*"}
        if explicit:
            subscription.names = self._shared.names(subscription.names | explicit if subscription.names else explicit)
            stale, absent = self._compared(subscription.type_url, explicit, held)
            for name in sorted((stale & explicit) | absent):
                self._expect(subscription, name, held.get(name, UNKNOWN))
            if subscription.flight is not None:
                for name in explicit:
                    subscription.flight.sent.pop(name, None)
        if "*" in names:
            subscription.wildcard = True
            stale, gone = self._compared(subscription.type_url, frozenset(held), held)
            for name in sorted((stale | gone) - explicit):
                self._expect(subscription, name, held.get(name, UNKNOWN))
                subscription.unmet.discard(name)
            subscription.greet = not held and not subscription.pending

    def _compared(
        self, type_url: str, names: frozenset[str], held: Mapping[str, str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Resources that the client does not hold as they are now, and those of `names` that do not exist.

        Whole layers are compared at once: when two thousand proxies come back after a restart, this is what they cost.
        """
        stale: frozenset[str] = frozenset()
        absent = names
        for layer in self.snapshot.layers:
            versions = self._shared.versions(layer, type_url)
            if not versions:
                continue
            if not versions.items() <= held.items():
                stale |= {name for name, _ in versions.items() - held.items()}
            absent = frozenset() if versions.keys() >= absent else absent - versions.keys()
        return stale, absent

    def _unsubscribe(self, subscription: Subscription, names: tuple[str, ...]) -> None:
        dropped = frozenset(names) & subscription.names
        if dropped:
            subscription.names = self._shared.names(subscription.names - dropped)
        if "*" in names and subscription.wildcard:
            subscription.wildcard = False
            for resource in self.snapshot.of_type(subscription.type_url):
                if resource.name not in subscription.names:
                    self._forget(subscription, resource.name)
            for name in [name for name in subscription.pending if name not in subscription.names]:
                self._forget(subscription, name)
        for name in dropped:
            self._forget(subscription, name)
            if subscription.wildcard:
                self._expect(subscription, name, UNKNOWN)
                subscription.unmet.discard(name)

    def _suspects(self, subscription: Subscription, changed: dict[str, Resource]) -> list[str]:
        """Envoy checks every resource before it applies one, and may not say which is bad: halve until it is alone."""
        names = list(changed)
        if len(names) <= 1:
            return names
        middle = len(names) // 2
        subscription.apart[:0] = [tuple(names[:middle]), tuple(names[middle:])]
        return []

    def _accepted_besides(self, flight: Flight, changed: dict[str, Resource], bad: list[str]) -> list[str]:  # noqa: ARG002
        """Only removals: Envoy may have applied the others too, but does not say so, and sending them again is safe."""
        return [name for name, resource in flight.sent.items() if resource is None]

    def _loaded(self) -> bool:
        return all(type_url in self.subscriptions for type_url in _WILDCARD_BY_DEFAULT)

    def _compose(self, subscription: Subscription, items: Items, *, removal: bool) -> Outgoing | None:
        sent: dict[str, Resource | None] = {}
        size = 0
        for name, resource in items:
            size += len(name) + (len(resource.delta_bytes) if resource is not None else 0)
            if sent and size > self._limits.response_bytes:
                break
            sent[name] = resource
        nonce = self._launch(subscription, sent, removal=removal)
        body = wire.delta_response(
            subscription.type_url,
            nonce,
            str(self.snapshot.revision),
            (resource.delta_bytes for resource in sent.values() if resource is not None),
            (name for name, resource in sent.items() if resource is None),
        )
        self._count(subscription, body, len(sent))
        return Outgoing(subscription.type_url, nonce, body)
