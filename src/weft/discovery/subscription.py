"""One type on one stream: what is subscribed, what is known of each resource, what is on the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from weft.discovery.states import Record, State
from weft.model.origin import Origin
from weft.xds.snapshot import Resource


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version of a resource that the client refused, with its words. Held until the version changes.

    Concerns the revisions from `first` to `last`.
    """

    type_url: str
    name: str
    version: str
    message: str
    origins: tuple[Origin, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Resources of one layer that a client is sent for the first time, all together.

    One value for all streams that load alike: a batch that waits or is on the way says MISSING or SENT of each of its
    resources that has no record of its own. `layer` is the layer's place in the snapshot, `on_demand` what it is there,
    `size` the sum of bytes.
    """

    layer: int
    on_demand: bool
    resources: Mapping[str, Resource]
    names: frozenset[str]
    size: int


@dataclass(slots=True)
class Flight:
    """The one response on the way: what it says by name (None: removed), alone or in batches.

    `first` is the revision with which the batches became due.
    """

    nonce: str
    sent: dict[str, Resource | None]
    batches: tuple[Batch, ...] = ()
    first: int = 0

    def carried(self, name: str) -> Resource | None:
        """What it says of `name`."""
        return self.sent[name] if name in self.sent else self.batched(name)

    def batched(self, name: str) -> Resource | None:
        """What one of its batches says of `name`."""
        return next((batch.resources[name] for batch in self.batches if name in batch.resources), None)

    def resources(self) -> dict[str, Resource]:
        """All it brings."""
        found = {name: resource for name, resource in self.sent.items() if resource is not None}
        for batch in self.batches:
            found.update(batch.resources)
        return found

    def __len__(self) -> int:
        return len(self.sent) + sum(len(batch.resources) for batch in self.batches)


@dataclass(slots=True)
class Counters:
    """Responses of one type on one stream."""

    sent: int = 0
    acked: int = 0
    nacked: int = 0
    resources: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Subscription:
    """State of one type.

    `records` are the resources that are not HELD, but for those in `loading` (batches to be sent, due since revision
    `loading_first`) and in the flight's batches. Records that are due stand in the order in which they are to be sent.
    `nonce` is that of the latest response, `nonces` the revision it was made at and how many were made at it. `unmet`
    are names asked for that were never in the snapshot since. `owes_answer` asks for a response even if it is empty:
    a client that asked for everything waits for one. `bisection` holds groups of names that must travel in responses
    of their own, to find which of them the client refuses.
    """

    type_url: str
    wildcard: bool = False
    names: frozenset[str] = frozenset()
    records: dict[str, Record] = field(default_factory=dict)
    loading: tuple[Batch, ...] = ()
    loading_first: int = 0
    rejected: dict[str, Rejection] = field(default_factory=dict)
    flight: Flight | None = None
    nonce: str = ""
    nonces: tuple[int, int] = (-1, 0)
    unmet: set[str] = field(default_factory=set)
    owes_answer: bool = False
    bisection: list[tuple[str, ...]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)

    def state(self, name: str) -> State:
        """What is known of a name that the client wants."""
        record = self.records.get(name)
        if record is not None:
            return record.state
        if self.is_loading(name):
            return State.MISSING
        return State.SENT if self.flight is not None and self.flight.batched(name) is not None else State.HELD

    def is_loading(self, name: str) -> bool:
        """Whether a batch that waits holds `name`."""
        return any(name in batch.names for batch in self.loading)

    def knows(self, name: str) -> bool:
        """Whether there is a record of `name`, or a batch that waits holds it."""
        return name in self.records or self.is_loading(name)

    @property
    def may_send(self) -> bool:
        """Whether no response is on the way, and there is something that may be due."""
        return self.flight is None and bool(self.records or self.loading or self.owes_answer)

    def batches(self) -> Iterator[Batch]:
        """Those that the client has not accepted."""
        yield from self.loading
        if self.flight is not None:
            yield from self.flight.batches

    @property
    def outstanding(self) -> int:
        """How many resources the client does not hold as it should, without those that it refuses."""
        loading = sum(len(batch.resources) for batch in self.batches())
        return loading + len(self.records) - len(self.rejected)

    def next_nonce(self, revision: int) -> str:
        """The nonce of the next response, made at `revision`: the same on all streams that were sent the same, so that
        they can share its bytes."""
        made, count = self.nonces
        return f"{revision:x}.{count if made == revision else 0:x}"

    def launch(self, flight: Flight, revision: int, size: int) -> None:
        """A response of `size` bytes, made at `revision`, goes on its way."""
        for name in flight.sent:
            if (record := self.records.get(name)) is not None:
                record.sent()
        self.loading = self.loading[len(flight.batches) :]
        if self.bisection and not flight.batches:
            del self.bisection[0]
        self.owes_answer = False
        made, count = self.nonces
        self.flight, self.nonce = flight, flight.nonce
        self.nonces = (revision, count + 1 if made == revision else 1)
        self.counters.sent += 1
        self.counters.resources += len(flight)
        self.counters.bytes += size

    def tidy(self) -> None:
        """A dictionary keeps the room it once needed: after a large load it is made anew."""
        if not self.records:
            self.records = {}
