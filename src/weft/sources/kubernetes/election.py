"""The election of a leader by a Lease: when to bid for it, when one leads, when no more. A state machine without I/O.

https://kubernetes.io/docs/concepts/architecture/leases/#leader-election

Times of the Lease are those of other hosts' clocks, so they are only shown: a leader is taken to be gone when its
record has not changed for as long as it said, by the clock of who watches. A leader that cannot renew gives up before
others may take its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: how long a leader that is not heard leads, when it gives up by itself, and between tries. `lasting` is
    longer than `deadline` by more than clocks drift apart in that time."""

    lasting: int = 15
    deadline: float = 10.0
    retry: float = 2.0


USUAL = Terms()


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says: who leads (empty: nobody), for how many seconds without a renewal, since when and until when
    it is known (RFC 3339 with microseconds), and how often another came to lead."""

    holder: str
    lasting: int
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and the version of the Lease that has it."""

    record: Record
    version: str


class Election:
    """One candidate. Every `now` is its monotonic clock, in seconds."""

    def __init__(self, identity: str, terms: Terms = USUAL) -> None:
        self._identity = identity
        self._terms = terms
        self._seen: Held | None = None
        self._since = 0.0
        self._until = float("-inf")
        self._stale = True

    @property
    def holder(self) -> str:
        """Who was seen to lead last; empty: nobody."""
        return self._seen.record.holder if self._seen is not None else ""

    @property
    def version(self) -> str:
        """The version of the Lease that a bid is to replace; empty: there is none, so it is to be made."""
        return self._seen.version if self._seen is not None else ""

    @property
    def stale(self) -> bool:
        """Whether the Lease has to be looked at before a bid."""
        return self._stale

    def leads(self, now: float) -> bool:
        """Whether this candidate leads."""
        return now < self._until

    def saw(self, held: Held | None, now: float) -> None:
        """The Lease was looked at; None: there is none."""
        before = self._seen.record if self._seen is not None else None
        if held is None or held.record != before:
            self._since = now
        self._seen, self._stale = held, False
        if held is None or held.record.holder != self._identity:
            self._until = float("-inf")

    def bid(self, now: float, clock: float) -> Record | None:
        """What to write to the Lease: to take it, or to keep it. None: another leads. `clock` is seconds since the
        epoch, for people to read."""
        moment = micro_time(clock)
        fresh = Record(self._identity, self._terms.lasting, moment, moment)
        if self._seen is None:
            return fresh
        last = self._seen.record
        if last.holder == self._identity:
            return replace(last, lasting=self._terms.lasting, renewed=moment)
        if last.holder and now - self._since < last.lasting:
            return None
        return replace(fresh, transitions=last.transitions + 1)

    def won(self, held: Held, asked: float) -> None:
        """The server took a bid that was sent at `asked`."""
        self._seen, self._since = held, asked
        self._until = asked + self._terms.deadline

    def refused(self) -> None:
        """The server did not take a bid, or did not answer: the Lease may be another's now."""
        self._stale = True

    def end(self) -> None:
        """This candidate leads no more, whatever the Lease says."""
        self._until = float("-inf")

    def resigned(self, clock: float) -> Record | None:
        """What to write to the Lease so that another may lead at once, if it is ours."""
        if self._seen is None or self._seen.record.holder != self._identity:
            return None
        return replace(self._seen.record, holder="", lasting=1, renewed=micro_time(clock))


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Lease(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    spec: _Spec
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


def held_from(answer: bytes) -> Held:
    """The record of a Lease as the server has it. msgspec.MsgspecError if it is none."""
    lease = msgspec.json.decode(answer, type=_Lease)
    said = lease.spec
    record = Record(
        said.holder_identity or "",
        said.lease_duration_seconds or 0,
        said.acquire_time or "",
        said.renew_time or "",
        said.lease_transitions or 0,
    )
    return Held(record, lease.metadata.resource_version)


def lease_body(record: Record, namespace: str, name: str, version: str) -> bytes:
    """The Lease of a name with a record, instead of that of `version` (empty: a new one)."""
    spec = _Spec(record.holder, record.lasting, record.acquired or None, record.renewed or None, record.transitions)
    return msgspec.json.encode(_Lease(_Metadata(name, namespace, version), spec))


def micro_time(clock: float) -> str:
    """A moment (seconds since the epoch) as Leases and Events have it."""
    return datetime.fromtimestamp(clock, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
