"""One type on one stream: what is subscribed, what the client holds, what is on the way, what it refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.model.origin import Origin
from weft.xds.snapshot import Resource

ABSENT = ""
"""The client is known to hold nothing by that name."""
UNKNOWN = "?"
"""The client was told nothing about that name yet."""


@dataclass(slots=True)
class Pending:
    """A name whose resource at the client differs from the snapshot's.

    `held` is the version the client holds (or ABSENT, UNKNOWN), `old` that resource if this stream sent it. `again`
    asks for it to be sent even if equal. `first` and `last` are the revisions of the oldest and newest change that the
    next ACK covers; `later` the revision of a change that came while a response was on the way (0: none).
    """

    held: str
    old: Resource | None
    first: int
    last: int
    again: bool = False
    later: int = 0


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


@dataclass(slots=True)
class Flight:
    """The one response on the way: what it carried, by name (None: removed)."""

    nonce: str
    sent: dict[str, Resource | None]
    removal: bool


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

    `nonce` is that of the latest response; `unmet` are names asked for that were never in the snapshot since; `greet`
    asks for an empty response, because a client that asked for everything waits for an answer.
    `apart` holds groups of names that must travel in responses of their own, to find which of them the client refuses.
    """

    type_url: str
    wildcard: bool = False
    names: frozenset[str] = frozenset()
    pending: dict[str, Pending] = field(default_factory=dict)
    rejected: dict[str, Rejection] = field(default_factory=dict)
    flight: Flight | None = None
    nonce: str = ""
    unmet: set[str] = field(default_factory=set)
    greet: bool = False
    apart: list[tuple[str, ...]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)

    def wants(self, name: str) -> bool:
        """Whether the client subscribed to `name`."""
        return self.wildcard or name in self.names

    def touched(self, names: frozenset[str]) -> frozenset[str]:
        """Those of `names` the client subscribed to."""
        return names if self.wildcard else names & self.names

    def flying(self, name: str) -> bool:
        """Whether `name` is in the response on the way."""
        return self.flight is not None and name in self.flight.sent

    def tidy(self) -> None:
        """Give back the memory of a large first load."""
        if not self.pending:
            self.pending = {}
