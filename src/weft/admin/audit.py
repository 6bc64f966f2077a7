"""The audit: who did what and when, and what was refused, in a bounded bucket of the store."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.store.protocol import Delete, Put, Store, StoreError

BUCKET = "audit"
KEEP_EVENTS = 2000
_PENDING = 200
_REFUSALS = 100
_FLUSH_SECONDS = 1.0
_LONGEST_TEXT = 300
_TOLD_BY_STATE = {"nack", "build-failed"}
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


class Audit:
    """Makes the audit's writes. Events of accepted changes go into the same batch as the change itself; refusals are
    collected and written once a second, so that a flood of them does not wear out the disk."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._numbers = itertools.count()
        self._pending: deque[Event] = deque(maxlen=_PENDING)
        self._refusals: dict[tuple[str, str], Problem] = {}

    def done(self, who: str, action: str, **members: str) -> Put:
        """The write that records something done; put it into the batch that does it."""
        return self._put(Event(self._clock(), who, action, "done", **members))

    def refused(self, who: str, action: str, code: str, detail: str, about: str = "") -> None:
        """Record a refusal. Texts may come from strangers: they are cut and made printable; never pass a secret."""
        who, detail, about = _printable(who), _printable(detail), _printable(about)
        _log.warning("refused %s from %s: %s (%s)", action, who, detail, code)
        self._pending.append(Event(self._clock(), who, action, "refused", object=about, detail=f"{code}: {detail}"))
        message = f"{action} refused{f' for {about}' if about else ''}: {detail}"
        self._refusals.pop((code, message), None)
        self._refusals[code, message] = Problem(Severity.WARNING, code, message, Origin(who))
        if len(self._refusals) > _REFUSALS:
            self._refusals.pop(next(iter(self._refusals)))

    def told(self, problem: Problem) -> None:
        """Record what the xDS server tells: refused proxies, and resources that proxies refused (in the log only)."""
        who = _printable(problem.origin.source)
        _log.warning("%s: %s (%s)", who, _printable(problem.message), problem.code)
        if problem.code not in _TOLD_BY_STATE:
            detail = f"{problem.code}: {_printable(problem.message)}"
            self._pending.append(Event(self._clock(), who, "xDS stream", "refused", detail=detail))

    def problems(self) -> tuple[Problem, ...]:
        """The latest refusals, each kind once."""
        return tuple(self._refusals.values())

    async def events(self) -> tuple[Event, ...]:
        """What is recorded, latest first."""
        await self.flush()
        _, entries = await self._store.list(BUCKET)
        return tuple(msgspec.json.decode(entry.value, type=Event) for entry in reversed(entries))

    async def run(self) -> None:
        """Write refusals and forget the oldest events for ever."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self.flush()
                await self._trim()
            except StoreError:
                continue  # the health check tells; what is pending is written when the store is back

    async def flush(self) -> None:
        """Write the refusals collected so far."""
        if not self._pending:
            return
        events = tuple(self._pending)
        await self._store.write([self._put(event) for event in events])
        for _ in events:
            if self._pending:
                self._pending.popleft()

    async def _trim(self) -> None:
        _, entries = await self._store.list(BUCKET)
        if len(entries) > KEEP_EVENTS:
            await self._store.write([Delete(BUCKET, entry.key) for entry in entries[: len(entries) - KEEP_EVENTS]])

    def _put(self, event: Event) -> Put:
        key = f"{int(event.time * 1e6):018d}-{next(self._numbers):06d}"
        return Put(BUCKET, key, msgspec.json.encode(event))


def _printable(text: str) -> str:
    cut = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in cut)
