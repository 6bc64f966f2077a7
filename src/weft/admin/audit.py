"""The audit: who did what and when, and what was refused, in a bounded bucket of the store."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from weft.model.printable import printable
from weft.model.problem import Problem
from weft.store.protocol import Delete, Entry, Put, Store, StoreError

BUCKET = "audit"
WORKLOADS_BUCKET = "audit-workloads"
REFUSED_BUCKET = "audit-refused"
"""Buckets of their own, so that neither a flood of refusals nor workloads that come and go push out what was done."""
BUCKETS = (BUCKET, WORKLOADS_BUCKET, REFUSED_BUCKET)
KEEP_EVENTS = 2000
_TRIM_AFTER = 100
"""The oldest events are forgotten after this many new ones: looking at all of them is not for every second."""
_PENDING = 50
"""Refusals recorded and logged per flush; of the others only the number is."""
_FLUSH_SECONDS = 1.0
_LONGEST_TEXT = 300
_SHOWN_BY_STATE = {"nack", "build-failed"}
"""Not refusals of ours; the hub shows them as long as they last."""

_log = logging.getLogger("weft.audit")


class Event(msgspec.Struct, frozen=True):
    """One event. `before` and `after` are SHA-256 of a document's text, empty for secrets and where there is none."""

    time: float
    who: str
    action: str
    outcome: str
    object: str = ""
    before: str = ""
    after: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, its id, and the revision of the store that it was written with."""

    event: Event
    id: str
    revision: int


class Audit:
    """Makes the audit's writes. Events of accepted changes go into the same batch as the change itself; refusals are
    collected and written once a second, so that a flood of them does not wear out the disk. `refusals` counts every
    refusal by its code, `made` the events."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.refusals: Counter[str] = Counter()
        self.made = 0
        self._store = store
        self._clock = clock
        self._numbers = itertools.count(secrets.randbelow(500_000))  # other control planes write, too
        self._pending: list[Event] = []
        self._dropped = 0
        self._untrimmed = _TRIM_AFTER

    def done(self, who: str, action: str, **members: str) -> Put:
        """The write that records something done; put it into the batch that does it."""
        return self._put(BUCKET, Event(self._clock(), who, action, "done", **members))

    def workload(self, who: str, action: str, **members: str) -> Put:
        """As `done`, for what a workload does about its own registration."""
        return self._put(WORKLOADS_BUCKET, Event(self._clock(), who, action, "done", **members))

    def refused(self, who: str, action: str, code: str, detail: str, about: str = "") -> None:
        """Record a refusal. Texts may come from strangers: they are cut and made printable; never pass a secret."""
        who, detail, about = (
            printable(who, _LONGEST_TEXT),
            printable(detail, _LONGEST_TEXT),
            printable(about, _LONGEST_TEXT),
        )
        self.refusals[code] += 1
        self._note(Event(self._clock(), who, action, "refused", object=about, detail=f"{code}: {detail}"))

    def record(self, problem: Problem) -> None:
        """Record a Problem of the xDS server: refused proxies, and resources that proxies refused (in the log only)."""
        who, message = printable(problem.origin.source, _LONGEST_TEXT), printable(problem.message, _LONGEST_TEXT)
        if problem.code in _SHOWN_BY_STATE:
            _log.warning("%s: %s (%s)", who, message, problem.code)
        else:
            self.refusals[problem.code] += 1
            self._note(Event(self._clock(), who, "xDS stream", "refused", detail=f"{problem.code}: {message}"))

    def _note(self, event: Event) -> None:
        if len(self._pending) >= _PENDING:
            self._dropped += 1
            return
        self._pending.append(event)
        about = f" for {event.object}" if event.object else ""
        _log.warning("refused %s from %s%s: %s", event.action, event.who, about, event.detail)

    async def events(self) -> tuple[Event, ...]:
        """What is recorded, latest first. What cannot be read is as if it were not there."""
        return tuple(one.event for one in await self.recorded())

    async def recorded(self) -> tuple[Recorded, ...]:
        """As `events`, with where each lies."""
        await self.flush()
        found = [entry for bucket in BUCKETS for entry in (await self._store.list(bucket))[1]]
        entries = sorted(found, key=lambda entry: entry.key, reverse=True)
        return tuple(
            Recorded(event, entry.key, entry.revision) for entry in entries if (event := _event(entry)) is not None
        )

    async def run(self) -> None:
        """Write refusals and forget the oldest events for ever."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self.flush()
                if self._untrimmed >= _TRIM_AFTER:
                    await self._trim()
            except StoreError:
                continue  # the health check says so; what is pending is written when the store is back

    async def flush(self) -> None:
        """Write the refusals collected so far."""
        if not self._pending:
            return
        events, self._pending = self._pending, []
        dropped, self._dropped = self._dropped, 0
        puts = [self._put(REFUSED_BUCKET, event) for event in events]
        if dropped:
            text = f"and {dropped} more"
            _log.warning("refused %s", text)
            puts.append(self._put(REFUSED_BUCKET, Event(self._clock(), "", "", "refused", detail=text)))
        try:
            await self._store.write(puts)
        except StoreError:
            self._pending = (events + self._pending)[:_PENDING]
            self._dropped += dropped
            raise

    async def _trim(self) -> None:
        self._untrimmed = 0
        for bucket in BUCKETS:
            _, entries = await self._store.list(bucket)
            if len(entries) > KEEP_EVENTS:
                old = entries[: len(entries) - KEEP_EVENTS]
                await self._store.write([Delete(bucket, entry.key) for entry in old])

    def _put(self, bucket: str, event: Event) -> Put:
        self._untrimmed += 1
        self.made += 1
        key = f"{int(event.time * 1e6):018d}-{next(self._numbers):06d}"
        return Put(bucket, key, msgspec.json.encode(event))


def _event(entry: Entry) -> Event | None:
    try:
        return msgspec.json.decode(entry.value, type=Event)
    except msgspec.DecodeError as error:
        _log.warning("the audit's entry %s cannot be read: %s", entry.key, error)
        return None
