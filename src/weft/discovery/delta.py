"""The delta variant of xDS (DeltaAggregatedResources): only what changed travels, by name. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import chain

from weft.discovery import wire
from weft.discovery.dependencies import Anything
from weft.discovery.session import Items, RefusedRequestError, Session
from weft.discovery.states import DUE, UNKNOWN, State
from weft.discovery.subscription import Batch, Flight, Rejection, Subscription
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, Resource, ResourceSet

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
    on_demand = True
    applies_rest = False  # Envoy may have applied the others, but does not say so, and sending them again is safe

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
        held = request.initial_versions
        if subscription.type_url == ENDPOINTS and CLUSTER not in self.subscriptions:
            held = {}  # Envoy asks for no clusters while one waits for its endpoints, also for those that it holds
        self._subscribe(subscription, names, held)

    def _subscribe(self, subscription: Subscription, names: tuple[str, ...], held: Mapping[str, str]) -> None:
        explicit = frozenset(names)
        if "*" in explicit:
            explicit -= {"*"}
        if explicit:
            known = self._known(subscription, explicit)
            self._keep_names(explicit - subscription.names)
            explicit = self._shared.names(explicit)
            subscription.names = self._shared.names(subscription.names | explicit) if subscription.names else explicit
            self.asked |= self._interest.on_demand(subscription, explicit, self.snapshot)
            besides = self._interest.use(subscription, explicit, self.snapshot)
            if subscription.wildcard:
                for name in sorted(besides - subscription.names):
                    self._expect(subscription, name, UNKNOWN)
            if held:
                stale, absent = self._compared(subscription.type_url, explicit, held, self.snapshot.layers)
                for name in sorted((stale & explicit) | absent):
                    self._expect(subscription, name, held.get(name, UNKNOWN))
            else:
                self._load_names(subscription, explicit.difference(known) if known else explicit)
                for name in sorted(known):
                    self._repeat(subscription, name, known[name])
        if "*" in names:
            subscription.wildcard = True
            if held:
                self._compare_all(subscription, explicit, held)
            else:
                self._load_all(subscription, explicit)
                subscription.owes_answer = not subscription.records and not subscription.loading

    def _known(self, subscription: Subscription, names: frozenset[str]) -> dict[str, Resource | None]:
        """Of `names`, those that the client may hold, and what it was to hold by them; not what it will be sent."""
        if not subscription.names and not subscription.wildcard:
            return {}
        found = {name: self._target(subscription, name) for name in names if not subscription.is_loading(name)}
        return {name: held for name, held in found.items() if held is not None or name in subscription.records}

    def _load_names(self, subscription: Subscription, names: frozenset[str]) -> None:
        """The client wants `names` and holds none of them."""
        for index, layer in enumerate(self.snapshot.layers):
            present = layer.of_type(subscription.type_url).keys()
            if not names or names.isdisjoint(present):
                continue
            found = names.intersection(present)  # not what a client made up: what is loaded is remembered
            self._load(subscription, index, names if len(found) == len(names) else self._shared.names(found))
            names = self._shared.names(names - found)
        for name in sorted(names):
            self._expect(subscription, name, UNKNOWN)

    def _load_all(self, subscription: Subscription, explicit: frozenset[str]) -> None:
        """The client wants everything, and holds nothing; `explicit` are names that it is sent anyway."""
        remembered = self._interest.remembered(subscription, self.snapshot) - explicit
        for index, layer in enumerate(self.snapshot.layers):
            if not layer.on_demand:
                named = layer.of_type(subscription.type_url)
                rest = None if explicit.isdisjoint(named) else self._shared.names(frozenset(named) - explicit)
                self._load(subscription, index, rest)
            elif remembered:
                self._load(subscription, index, self._shared.names(remembered))

    def _compare_all(self, subscription: Subscription, explicit: frozenset[str], held: Mapping[str, str]) -> None:
        """The client wants everything, and holds `held`."""
        eager = tuple(layer for layer in self.snapshot.layers if not layer.on_demand)
        stale, gone = self._compared(subscription.type_url, frozenset(held), held, eager)
        self._keep_names(gone)
        remembered = self._interest.remembered(subscription, self.snapshot)
        for name in sorted((stale | gone | remembered) - explicit):
            self._expect(subscription, name, held.get(name, UNKNOWN))

    def _compared(
        self, type_url: str, names: frozenset[str], held: Mapping[str, str], layers: tuple[ResourceSet, ...]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Resources of `layers` that the client does not hold as they are now, and those of `names` that do not exist.

        Whole layers are compared at once: when two thousand proxies come back after a restart, this is what they cost.
        """
        stale: frozenset[str] = frozenset()
        absent = names
        for layer in layers:
            versions = self._shared.versions(layer, type_url)
            if not versions:
                continue
            if not versions.items() <= held.items():
                stale |= {name for name, _ in versions.items() - held.items()}
            absent = frozenset() if versions.keys() >= absent else absent - versions.keys()
        return stale, absent

    def _unsubscribe(self, subscription: Subscription, names: tuple[str, ...]) -> None:
        dropped = frozenset(names) & subscription.names
        known = self._known(subscription, dropped) if subscription.wildcard and "*" not in names else {}
        if dropped:
            self._forget_names(dropped)
            subscription.names = self._shared.names(subscription.names - dropped)
        if "*" in names and subscription.wildcard:
            self._unpack(subscription)
            subscription.wildcard = False
            for name in [name for name in subscription.records if name not in subscription.names]:
                self._forget(subscription, name)
        for name in dropped:
            if name in known:
                subscription.unmet.discard(name)
                self._repeat(subscription, name, known[name])
                continue
            self._forget(subscription, name)
            if subscription.wildcard:
                self._expect(subscription, name, UNKNOWN)

    def _suspects(self, subscription: Subscription, names: list[str]) -> list[str]:
        """Envoy checks every resource before it applies one, and may not say which is bad: halve until it is alone."""
        if len(names) <= 1:
            return names
        middle = len(names) // 2
        subscription.bisection[:0] = [tuple(names[:middle]), tuple(names[middle:])]
        return []

    @property
    def loaded(self) -> bool:
        """See `Session.loaded`."""
        return all(type_url in self.subscriptions for type_url in _WILDCARD_BY_DEFAULT)

    def _ready(self, subscription: Subscription) -> Items:
        """A client's first listeners come together: with the first of them Envoy serves, and an Envoy that another one
        takes over from closes what the other one does not have yet."""
        items = super()._ready(subscription)
        counters = subscription.counters
        if subscription.type_url != LISTENER or not items or counters.acked or counters.nacked:
            return items
        ready = {name for name, _ in items}
        for listener in self.snapshot.of_type(LISTENER):
            if subscription.state(listener.name) is State.HELD:
                return items
        for name, record in subscription.records.items():
            target = self._target(subscription, name)
            waits = record.state in DUE and target is not None and name not in ready
            if waits and target is not None and not self._dependencies.hopeless(target, self.snapshot):
                return []
        return items

    def _referred(self, type_url: str) -> Container[str]:
        return super()._referred(type_url) if self._knows_what_refers(type_url) else Anything()

    def _knows_what_refers(self, type_url: str) -> bool:
        """A client that comes back says type by type what it holds: until then, that may refer to anything."""
        if any(kind not in self.subscriptions for kind in _WILDCARD_BY_DEFAULT):
            return False
        between = [
            kind
            for kind, named in ((ROUTES, (CLUSTER, SECRET, EXTENSION)), (EXTENSION, (CLUSTER, SECRET)))
            if type_url in named and kind not in self.subscriptions
        ]
        listeners = self.subscriptions[LISTENER]
        return not any(
            self._shared.required(listener, kind) and listeners.state(listener.name) is State.HELD
            for kind in between
            for listener in self.snapshot.of_type(LISTENER)
        )

    def _choose(self, subscription: Subscription) -> tuple[dict[str, Resource | None], tuple[Batch, ...]]:
        """Batches first, in responses of their own, whose bytes streams share."""
        most = self._limits.response_bytes
        size = count = 0
        if subscription.loading:
            for batch in subscription.loading:
                size += batch.size
                if count and size > most:
                    break
                count += 1
            return {}, subscription.loading[:count]
        sent: dict[str, Resource | None] = {}
        for name, resource in self._isolated(subscription, self._ready(subscription)):
            size += len(name) + (len(resource.delta_bytes) if resource is not None else 0)
            if sent and size > most:
                break
            sent[name] = resource
        return sent, ()

    @staticmethod
    def _isolated(subscription: Subscription, items: Items) -> Items:
        """Of `items`, those that must travel without the others now."""
        while items and subscription.bisection:
            if chosen := [item for item in items if item[0] in subscription.bisection[0]]:
                return chosen
            del subscription.bisection[0]
        return items

    def _encode(self, subscription: Subscription, flight: Flight) -> bytes:
        kind, nonce, version = subscription.type_url, flight.nonce, str(self.snapshot.revision)
        removed = tuple([name for name, resource in flight.sent.items() if resource is None])
        resources = tuple([resource for resource in flight.sent.values() if resource is not None])
        size = sum([len(resource.delta_bytes) for resource in resources]) + sum([b.size for b in flight.batches])

        def encode() -> bytes:
            batched = (resource for batch in flight.batches for resource in batch.resources.values())
            encoded = (resource.delta_bytes for resource in chain(resources, batched))
            return wire.delta_response(kind, nonce, version, encoded, removed)

        return self._shared.body((kind, nonce, version, removed), (*resources, *flight.batches), size, encode)
