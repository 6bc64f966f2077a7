"""A Session: the state machine of one xDS stream, without I/O or clock; variants are in delta.py and sotw.py.

What it knows of each resource is one of the states in states.py; what has to wait for what is in dependencies.py. A
response takes up all that is due of its type and need not wait, additions and removals alike, oldest first. One
response per type is on the way at a time; what changes meanwhile is merged into the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from weft.discovery.allowance import Allowance, room_of
from weft.discovery.blame import named_resources
from weft.discovery.dependencies import Dependencies
from weft.discovery.interest import Interest
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.states import ABSENT, DUE, ON_THE_WAY, UNKNOWN, Record, State, at_rest
from weft.discovery.subscription import Batch, Flight, Rejection, Subscription
from weft.model.printable import printable
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, SECRET, TYPES, Resource, ResourceSet, XdsSnapshot

MAX_MESSAGE = 2000
"""Characters of a client's error message that are kept."""
_BATCHED = (CLUSTER, ENDPOINTS, SECRET)
"""Types whose resources wait for nothing."""
Items = list[tuple[str, Resource | None]]


class RefusedRequestError(Exception):
    """The client broke a limit or the protocol: its stream ends. `code` is a kebab-case word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A response to write: its encoded message."""

    type_url: str
    nonce: str
    body: bytes = field(repr=False)


class Session(ABC):
    """What both variants share. `snapshot` is what the client should hold as far as it subscribed to it.

    `asked` are names of on-demand resources that the client asked for; who wants to know takes them out. `deferred`
    says that a response was too large for the last `next`.
    """

    variant: Literal["delta", "sotw"]
    on_demand: ClassVar[bool]
    """Whether the variant has resources on demand."""
    applies_rest: ClassVar[bool]
    """Whether a client that refuses a response for some of its resources has taken the others."""

    def __init__(
        self,
        snapshot: XdsSnapshot,
        shared: Shared,
        limits: Limits,
        remembered: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.subscriptions: dict[str, Subscription] = {}
        self.last_nack: Rejection | None = None
        self.asked: frozenset[str] = frozenset()
        self.deferred = False
        self._shared = shared
        self._limits = limits
        self._allowance = allowance or Allowance(limits, 0.0)
        self._kept = 0
        self._interest = Interest(shared, on_demand=self.on_demand, remembered=remembered)
        self._dependencies = Dependencies(self.subscriptions, shared)
        self._ordered: tuple[Subscription, ...] = ()

    # what the hub asks

    def offer(self, snapshot: XdsSnapshot) -> None:
        """From now on the client should hold `snapshot`; what is not sent yet is merged into it."""
        before, self.snapshot = self.snapshot, snapshot
        for type_url, change in self._shared.changes(before, snapshot).items():
            subscription = self.subscriptions.get(type_url)
            names = subscription and self._interest.touched(subscription, change)
            if subscription is None or not names:
                continue
            if subscription.loading:
                names = self._revise_batches(subscription, names)
            for name in sorted(names):
                self._news(subscription, name, before)
            subscription.tidy()

    @property
    def may_send(self) -> bool:
        """Whether it is worth asking for the next response."""
        return any(subscription.may_send for subscription in self._ordered)

    def next(self, most: int | None = None) -> Outgoing | None:
        """The next response to write, if any may be written now, of at most `most` bytes."""
        self.deferred = False
        for subscription in self._ordered:
            if subscription.may_send and (out := self._response(subscription, most)) is not None:
                return out
        return None

    @property
    def acked_revision(self) -> int:
        """The highest revision of which the client has acknowledged or refused everything; -1 before its first load."""
        if not self.loaded:
            return -1
        oldest = self.snapshot.revision + 1
        for subscription in self._ordered:
            for name, record in subscription.records.items():
                if record.first < oldest and not self._stays(subscription, name, record):
                    oldest = record.first
            if subscription.loading:
                oldest = min(oldest, subscription.loading_first)
            if subscription.flight is not None and subscription.flight.batches:
                oldest = min(oldest, subscription.flight.first)
        return oldest - 1

    def rejections(self) -> Iterator[Rejection]:
        """What the client refuses at present."""
        for subscription in self._ordered:
            yield from subscription.rejected.values()

    def held(self, type_url: str, name: str) -> Resource | None:
        """What the client holds by that name, if it is what it should."""
        subscription = self.subscriptions.get(type_url)
        if subscription is None or subscription.state(name) is not State.HELD:
            return None
        return self._target(subscription, name)

    def unmet(self) -> Iterator[tuple[str, str]]:
        """Names (as type, name) the client asked for that were never in its snapshot since. Not those of clusters where
        clusters are on demand: Envoy goes on asking for one that is gone. Nor slots of its listeners: they may be
        empty."""
        on_demand = any(layer.on_demand for layer in self.snapshot.layers)
        for subscription in self._ordered:
            if on_demand and subscription.type_url == CLUSTER:
                continue
            given = self._slots() if subscription.type_url == EXTENSION else frozenset()
            for name in subscription.unmet - given:
                yield subscription.type_url, name

    def _slots(self) -> frozenset[str]:
        listeners = self.snapshot.of_type(LISTENER)
        return frozenset().union(*(self._shared.required(each, EXTENSION) for each in listeners))

    def given(self) -> XdsSnapshot:
        """The snapshot without what is on demand and was not asked for."""
        layers = self.snapshot.layers
        if not any(layer.on_demand for layer in layers):
            return self.snapshot
        return XdsSnapshot(self.snapshot.revision, tuple(map(self._given, layers)))

    def _given(self, layer: ResourceSet) -> ResourceSet:
        if not layer.on_demand:
            return layer
        wanted = {
            kind: {name: one for name, one in layer.of_type(kind).items() if self._target(subscription, name)}
            for kind, subscription in self.subscriptions.items()
        }
        return ResourceSet(wanted)

    # subscriptions

    def _subscription(self, type_url: str) -> tuple[Subscription, bool]:
        """The state of a type and whether this is the first request for it."""
        known = self.subscriptions.get(type_url)
        if known is not None:
            return known, False
        if len(self.subscriptions) >= self._limits.types:
            raise RefusedRequestError("too-many-types", f"more than {self._limits.types} resource types on one stream")
        if len(type_url) > self._limits.name_bytes:
            raise RefusedRequestError("name-too-long", "the type URL is too long")
        fresh = self.subscriptions[type_url] = Subscription(type_url)
        self._ordered = tuple(sorted(self.subscriptions.values(), key=_rank))
        return fresh, True

    def _check_names(self, names: Iterable[str], total: int) -> None:
        if total > self._limits.names:
            raise RefusedRequestError("too-many-names", f"{total} names of one type; at most {self._limits.names}")
        if max(map(len, names), default=0) > self._limits.name_bytes:
            raise RefusedRequestError("name-too-long", f"a resource name exceeds {self._limits.name_bytes} characters")

    def _keep_names(self, names: Collection[str]) -> None:
        """Names of the client's own choice are to be remembered, as long as it wants them."""
        size = room_of(names)
        if not self._allowance.keep(size):
            most = self._limits.kept_bytes
            raise RefusedRequestError("too-many-names", f"all names of the proxy together take more than {most} bytes")
        self._kept += size

    def _forget_names(self, names: Collection[str]) -> None:
        size = room_of(names)
        self._allowance.give_back(size)
        self._kept -= size

    def close(self) -> None:
        """The stream has ended: give back what its names took."""
        self._allowance.give_back(self._kept)
        self._kept = 0

    def _target(self, subscription: Subscription, name: str) -> Resource | None:
        """What the client should hold by that name."""
        return self._interest.target(subscription, name, self.snapshot)

    def _load(self, subscription: Subscription, index: int, names: frozenset[str] | None = None) -> None:
        """The client is to be sent all of a layer, or what is called so in it, and holds nothing of it."""
        batches = self._shared.batches(index, self.snapshot.layers[index], subscription.type_url, names)
        if subscription.type_url in _BATCHED and sum(len(batch.names) for batch in batches) >= self._limits.batch:
            for name in [name for name in subscription.records if any(name in batch.names for batch in batches)]:
                self._drop(subscription, name)
            if not subscription.loading:
                subscription.loading_first = self.snapshot.revision
            subscription.loading += batches
            return
        for batch in batches:
            for name in batch.resources:
                self._expect(subscription, name, UNKNOWN)

    def _expect(self, subscription: Subscription, name: str, held: str) -> None:
        """The client wants `name` and holds version `held` of it. A response on the way does not count."""
        if subscription.is_loading(name):
            return
        target = self._target(subscription, name)
        if target is None and name in subscription.names:
            subscription.unmet.add(name)
        self._drop(subscription, name)
        state = at_rest(held, target)
        if state is not State.HELD:
            revision = self.snapshot.revision
            subscription.records[name] = Record(state, held, None, revision, revision)

    def _forget(self, subscription: Subscription, name: str) -> None:
        """The client does not want `name` any more."""
        if subscription.is_loading(name):
            self._unpack(subscription)
        self._drop(subscription, name)
        subscription.unmet.discard(name)

    @staticmethod
    def _drop(subscription: Subscription, name: str) -> None:
        subscription.records.pop(name, None)
        subscription.rejected.pop(name, None)

    # changes

    def _news(self, subscription: Subscription, name: str, before: XdsSnapshot) -> None:
        """The snapshot says something else about `name` than `before`."""
        target = self._target(subscription, name)
        revision = self.snapshot.revision
        if target is not None and name in subscription.unmet:
            subscription.unmet.discard(name)
            self.asked |= self._interest.on_demand(subscription, (name,), self.snapshot)
        refused = subscription.rejected.get(name)
        if refused is not None:
            if target is not None and target.version == refused.version:
                return
            del subscription.rejected[name]
        record = subscription.records.get(name)
        if record is None:
            record = self._held(subscription, name, self._interest.target(subscription, name, before))
        carried = None if subscription.flight is None else subscription.flight.carried(name)
        record.news(target, carried, revision)
        self._keep(subscription, name, record)

    def _repeat(self, subscription: Subscription, name: str, held: Resource | None) -> None:
        """The client waits for `name` once more, of which it was to hold `held`, and may go on using what it holds."""
        target = self._target(subscription, name)
        if target is None:
            subscription.rejected.pop(name, None)
            if name in subscription.names:
                subscription.unmet.add(name)
        record = subscription.records.pop(name, None) or self._held(subscription, name, held)
        record.repeat(target)
        self._keep(subscription, name, record)

    def _held(self, subscription: Subscription, name: str, held: Resource | None) -> Record:
        """A record for a name that has none: it is in a batch on the way, or the client holds it as it should."""
        revision = self.snapshot.revision
        flight = subscription.flight
        if flight is not None and flight.batched(name) is not None:
            return Record(State.SENT, UNKNOWN, None, flight.first, revision)
        return Record(State.HELD, ABSENT if held is None else held.version, held, revision, revision)

    def _keep(self, subscription: Subscription, name: str, record: Record) -> None:
        if record.state is State.HELD:
            subscription.records.pop(name, None)
        else:
            subscription.records[name] = record

    def _revise_batches(self, subscription: Subscription, names: frozenset[str]) -> frozenset[str]:
        """Take changed names into the batches that wait. Returns the names that are in none of them."""
        revised: list[Batch] = []
        moved: list[str] = []
        for batch in subscription.loading:
            touched = names & batch.names
            if not touched:
                revised.append(batch)
                continue
            names -= touched
            layers = self.snapshot.layers[batch.layer : batch.layer + 1]
            fresh: tuple[Batch, ...] = ()
            if layers and layers[0].on_demand == batch.on_demand:
                fresh = self._shared.batches(batch.layer, layers[0], subscription.type_url, batch.names)
            revised += fresh
            moved += sorted(touched.difference(*(one.names for one in fresh)))
        subscription.loading = tuple(revised)
        for name in moved:
            self._expect(subscription, name, UNKNOWN)
        return names

    def _unpack(self, subscription: Subscription) -> None:
        """Records instead of the batches that wait."""
        batches, subscription.loading = subscription.loading, ()
        for batch in batches:
            for name in batch.resources:
                record = Record(State.MISSING, UNKNOWN, None, subscription.loading_first, self.snapshot.revision)
                subscription.records.setdefault(name, record)

    # acknowledgement

    def _answered(self, subscription: Subscription, message: str | None) -> tuple[Rejection, ...]:
        """The client answered the response on the way: None accepts, a message refuses. Returns what it refused."""
        flight, subscription.flight = subscription.flight, None
        refused: tuple[Rejection, ...] = ()
        if flight is None:
            return refused
        if message is None:
            subscription.counters.acked += 1
            for name, record in self._on_the_way(subscription, flight):
                self._accepted(subscription, name, record, flight.carried(name))
        else:
            subscription.counters.nacked += 1
            refused = self._refused(subscription, flight, message)
        subscription.tidy()
        return refused

    @staticmethod
    def _on_the_way(subscription: Subscription, flight: Flight) -> list[tuple[str, Record]]:
        """Records of what is in the response on the way."""
        return [
            (name, record)
            for name, record in subscription.records.items()
            if record.state in ON_THE_WAY or (record.state is State.REPEAT and flight.carried(name) is not None)
        ]

    def _accepted(self, subscription: Subscription, name: str, record: Record, carried: Resource | None) -> None:
        record.accepted(carried, self._target(subscription, name))
        del subscription.records[name]  # what is due again has to wait for its turn
        self._keep(subscription, name, record)

    def _refused(self, subscription: Subscription, flight: Flight, message: str) -> tuple[Rejection, ...]:
        """The client refused `flight`: hold what it refuses, and send again what it may not have taken."""
        brought = flight.resources()
        message = message[:MAX_MESSAGE]
        bad = named_resources(message, brought) or self._suspects(subscription, list(brought))
        message = printable(message)
        applied_rest = self.applies_rest or not brought
        for name in bad if applied_rest else brought:
            if flight.batched(name) is not None and self._target(subscription, name) and not subscription.knows(name):
                record = Record(State.SENT, UNKNOWN, None, flight.first, self.snapshot.revision)
                subscription.records[name] = record
        rejections = []
        for name, record in self._on_the_way(subscription, flight):
            if name in bad and record.state is State.REPEAT:
                continue  # it is refused when it has been sent once more
            if name in bad:
                rejections.append(self._reject(subscription, brought[name], record, message))
            elif applied_rest:
                self._accepted(subscription, name, record, flight.carried(name))
            else:
                record.returned(flight.carried(name), self._target(subscription, name))
                self._keep(subscription, name, record)
        if rejections:
            self.last_nack = rejections[0]
        return tuple(rejections)

    def _reject(self, subscription: Subscription, resource: Resource, record: Record, message: str) -> Rejection:
        kind, name = subscription.type_url, resource.name
        rejection = Rejection(kind, name, resource.version, message, resource.origins, record.first, record.last)
        record.refused(self._target(subscription, name))
        if record.state is State.REFUSED:
            subscription.rejected[name] = rejection
        self._keep(subscription, name, record)
        return rejection

    # what may be sent

    def _ready(self, subscription: Subscription) -> Items:
        """What is due and need not wait, oldest first; None: the name does not exist, or not any more."""
        items: Items = []
        referred: Container[str] | None = None
        for name, record in subscription.records.items():
            if record.state not in DUE:
                continue
            target = self._target(subscription, name)
            if target is not None:
                if not self._dependencies.waits(target, self.snapshot):
                    items.append((name, target))
            elif record.state is State.MISSING:
                items.append((name, None))
            else:
                referred = self._referred(subscription.type_url) if referred is None else referred
                if name not in referred:
                    items.append((name, None))
        return items

    def _referred(self, type_url: str) -> Container[str]:
        """Names of one type that may not be removed yet."""
        return self._dependencies.referred(type_url)

    def _stays(self, subscription: Subscription, name: str, record: Record) -> bool:
        """Whether it stays as it is until the configuration changes: because of what the client refuses."""
        if record.state not in DUE:
            return record.state is State.REFUSED
        target = self._target(subscription, name)
        if target is not None:
            return self._dependencies.hopeless(target, self.snapshot)
        return any(self._stays(*each) for each in self._dependencies.referrers(subscription.type_url, name))

    def _response(self, subscription: Subscription, most: int | None) -> Outgoing | None:
        sent, batches = self._choose(subscription)
        if not sent and not batches and not subscription.owes_answer:
            return None
        revision = self.snapshot.revision
        flight = Flight(subscription.next_nonce(revision), sent, batches, subscription.loading_first)
        body = self._encode(subscription, flight)
        if most is not None and len(body) > most:
            self.deferred = True
            return None
        subscription.launch(flight, revision, len(body))
        if subscription.type_url == CLUSTER:
            self._repeat_endpoints(flight)
        return Outgoing(subscription.type_url, flight.nonce, body)

    def _repeat_endpoints(self, clusters: Flight) -> None:
        """A cluster that was sent again waits for its endpoints again, even if they are the same."""
        endpoints = self.subscriptions.get(ENDPOINTS)
        if endpoints is None or not (endpoints.wildcard or endpoints.names):
            return
        for cluster in clusters.resources().values():
            for name in self._shared.required(cluster, ENDPOINTS):
                if (target := self._target(endpoints, name)) is not None and not endpoints.is_loading(name):
                    self._repeat(endpoints, name, target)

    # variants

    @property
    @abstractmethod
    def loaded(self) -> bool:
        """Whether the client has asked for what it will hold."""

    @abstractmethod
    def _suspects(self, subscription: Subscription, names: list[str]) -> list[str]:
        """Which of the resources of a refused response are held, if the refusal names none."""

    @abstractmethod
    def _choose(self, subscription: Subscription) -> tuple[dict[str, Resource | None], tuple[Batch, ...]]:
        """What the next response says: by name, and in batches."""

    @abstractmethod
    def _encode(self, subscription: Subscription, flight: Flight) -> bytes:
        """The response."""


def _rank(subscription: Subscription) -> int:
    return TYPES.index(subscription.type_url) if subscription.type_url in TYPES else -1
