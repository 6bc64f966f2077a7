"""Waiting until every proxy that is concerned has confirmed a change, to whichever replica it is connected.

Each replica is asked again and again, for a few seconds each time, whether what was written is in force there, and who
of its proxies has confirmed it. It is so everywhere when all have said so in one round, in which no replica came, and
no proxy is on its way from one to another: that may hold what the former gave it. Of a replica that does not answer
nobody knows, and it is waited for as a proxy is; one of a release that cannot answer is named without that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TypeVar

import msgspec

from weft.admin.confirmation import UNCERTAIN_SECONDS, confirmed_here
from weft.admin.context import ApiContext
from weft.admin.replicas.links import MISSED_SECONDS, Link, LinkError, NotServedError
from weft.admin.replicas.replicas import Unknown
from weft.admin.replicas.rows import Awaited, Found
from weft.model.document import ObjectKey

_ROUND_SECONDS = 3.0
_PATIENCE_SECONDS = 8.0
_GRACE_SECONDS = 1.0
"""What an answer may take beyond the end."""
_REST_SECONDS = 0.2
_BUSY_SECONDS = 1.0
"""Between questions whose answer is not waited for over there, because others wait."""
_BACK_SECONDS = 1.0
_AT_ONCE = 300
_MOST_MOVED = 800
"""Documents and proxies that are named in one question."""
_MOST_BYTES = 100_000
"""Of each of both; a question is to be smaller than a body may be."""
_NOWHERE = "?"
_LEFT = "-"
"""Instead of a replica: not known where, and at none that is there still."""
_NOT_READ = "it has not read in time what was written"
NamedT = TypeVar("NamedT")


@dataclass(frozen=True, slots=True)
class Everywhere:
    """What was found out, by the name of the replica (empty: this one), and of whom nothing is known. `moving` are
    proxies that were seen at another replica, and have not said here or there what they hold."""

    found: Mapping[str, Found]
    unknown: tuple[Unknown, ...] = ()
    moving: tuple[str, ...] = ()


async def confirmed_everywhere(
    context: ApiContext,
    awaited: Awaited,
    end: float,
    changed: Iterable[ObjectKey] = (),
    ticket: Mapping[str, int] | None = None,
) -> Everywhere:
    """See the module; by the `end` (of the loop's clock). `ticket` has the revisions that were in force before, by the
    process; without it `since` is that of this one. Where it is not known everybody is concerned. For `changed` see
    `confirmed_here`."""
    own = context.replicas.boot
    known = {own: awaited.since} if ticket is None else ticket
    if context.replicas.alone:
        found = await confirmed_here(context, _asked_of(own, awaited, known), end, changed)
        silent = not (found.known or found.unread or found.untried or found.pending)
        return Everywhere({"": found}, (Unknown(context.replicas.name, _NOT_READ),) if silent else ())
    return await _Waiting(context, awaited, known, frozenset(changed)).run(end)


def _asked_of(boot: str, awaited: Awaited, known: Mapping[str, int]) -> Awaited:
    """The question to a process."""
    since = known.get(boot, -1)
    return msgspec.structs.replace(awaited, boot=boot, since=since, everybody=since < 0 and not awaited.store)


def _first(named: Iterable[NamedT], most: int) -> tuple[NamedT, ...]:
    """As many as one question may name."""
    named = tuple(islice(named, most))
    sizes = accumulate(len(msgspec.json.encode(one)) + 1 for one in named)
    return named[: sum(size <= _MOST_BYTES for size in sizes)]


class _Party:
    """One replica, what it is asked and has answered. `link` None: this one itself."""

    def __init__(self, link: Link | None, boot: str, awaited: Awaited, known: Mapping[str, int]) -> None:
        self.link = link
        self.name = link.name if link is not None else ""
        self.why = "it was not asked yet"
        """Why nothing is known of it."""
        self.hopeless = False
        """Whether that stays so."""
        self._awaited = awaited
        self._known = known
        self._ask = _asked_of(boot, awaited, known)
        self._left = awaited.documents
        self._moved: dict[str, None] = {}
        self._since: float | None = None
        self._found = Found(boot, known=False)

    @property
    def settled(self) -> bool:
        """Whether everything is in force there, and nobody there is waited for."""
        found = self._found
        return not self.why and found.known and not (found.pending or found.untried or self._left)

    @property
    def found(self) -> Found:
        """What it has answered last."""
        unread = self._found.unread or tuple(str(one.key) for one in self._left)
        return msgspec.structs.replace(self._found, unread=unread)

    def rest(self) -> float:
        """Seconds until it is to be asked what it answers at once. Of some documents it can only be said that they were
        read when they have had time for it."""
        clock = asyncio.get_running_loop().time()
        first, self._since = self._since is None, clock if self._since is None else self._since
        return max(0.0 if first else _BUSY_SECONDS, self._since + UNCERTAIN_SECONDS - clock if self._left else 0.0)

    def question(self, moved: Sequence[str], wait: float) -> Awaited:
        """The next one; those that have moved there before are asked for still."""
        self._moved |= dict.fromkeys(moved)
        named = _first(self._moved, _MOST_MOVED)
        return msgspec.structs.replace(
            self._ask,
            documents=_first(self._left, _AT_ONCE),
            everybody=self._ask.everybody or len(self._moved) > len(named),
            moved=named,
            wait=wait,
        )

    def take(self, asked: Awaited, found: Found) -> None:
        """An answer. What is in force there is not asked for again, and those that it concerned stay the same."""
        if found.boot != self._ask.boot:  # what an earlier process has read it may not have
            self._ask = _asked_of(found.boot, self._awaited, self._known)
            self._left, self._since = self._awaited.documents, None
        if found.known or found.unread:
            lacking = {*found.unread, *found.untried}
            done = {one.key for one in asked.documents if str(one.key) not in lacking}
            self._left = tuple(one for one in self._left if one.key not in done)
        if found.known and not self._left:
            self._ask = msgspec.structs.replace(self._ask, revision=found.revision)
        self._found, self.why, self.hopeless = found, "", False
        if found.known or found.unread or found.untried or found.pending:
            return
        self.why = _NOT_READ


class _Moves:
    """Where proxies were, as far as is known, and which have not been heard of since they left."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._now: dict[str, str] = {}
        self.look()
        missed = context.replicas.missed()
        self._before = self._now | {proxy: name for proxy, (name, _) in missed.items()}
        self._missed = {proxy: since for proxy, (_, since) in missed.items()}
        self._gone: set[str] = set()
        self.doubtful = False
        """Whether there was a replica of which nothing is known: who comes may come from there."""

    def look(self) -> None:
        """See where each is now."""
        self._now = self._context.replicas.whereabouts() | dict.fromkeys(self._context.hub.connected(), "")

    def left(self, name: str, gone: Iterable[str]) -> None:
        """These are concerned, and not at a replica any more."""
        for proxy in gone:
            if proxy not in self._gone and self._now.get(proxy) != name:
                self._gone.add(proxy)
                self._before[proxy] = _LEFT

    def moved(self) -> dict[str, str]:
        """Those that are elsewhere now, and where."""
        now = self._now
        if self.doubtful:
            for proxy in now:
                self._before.setdefault(proxy, _NOWHERE)
        return {proxy: now[proxy] for proxy, at in self._before.items() if now.get(proxy, at) != at}

    def heard(self, moved: Mapping[str, str]) -> None:
        """Where these have moved, all have answered since that are waited for."""
        self._before.update((proxy, at) for proxy, at in moved.items() if self._now.get(proxy) == at)

    def away(self) -> list[str]:
        """Those that are nowhere, and may come back still."""
        nowhere = self._before.keys() - self._now.keys()
        self._missed = {proxy: since for proxy, since in self._missed.items() if proxy in nowhere}
        if not nowhere:
            return []
        clock = time.monotonic()
        links = self._context.replicas.links
        there = {link.name for link in links if link.known} | {"", _LEFT}
        registered = {each.speaker for each in self._context.compiled.value.workloads}
        for proxy in nowhere:
            since = self._missed.setdefault(proxy, clock)
            patience = _BACK_SECONDS if self._before[proxy] in there else MISSED_SECONDS
            if proxy not in registered or clock - since > patience:
                del self._before[proxy]
        unknown = {link.name for link in links if not link.known}  # of those it is said, and not of each proxy
        return sorted(one for one in nowhere if one in self._before and self._before[one] not in unknown)


class _Waiting:
    """One who waits for the proxies of all replicas."""

    def __init__(
        self, context: ApiContext, awaited: Awaited, known: Mapping[str, int], changed: frozenset[ObjectKey]
    ) -> None:
        self._context = context
        self._replicas = context.replicas
        self._awaited = awaited
        self._known = known
        self._changed = changed
        own = _Party(None, context.replicas.boot, awaited, known)
        self._parties: dict[Link | None, _Party] = {None: own}
        self._moves = _Moves(context)

    async def run(self, end: float) -> Everywhere:
        """Ask until all have confirmed, until the `end`. Who has is asked again only in the last round, which is of
        all."""
        loop, last = asyncio.get_running_loop(), True
        while True:
            self._meet()
            self._moves.look()
            moved = self._moves.moved()
            await self._ask(moved, end, everyone=last)
            self._moves.look()
            parties = list(self._parties.values())
            quiet = {party.name for party in parties if party.settled or party.hopeless}
            self._moves.heard({proxy: at for proxy, at in moved.items() if at in quiet})
            for party in parties:
                self._moves.left(party.name, party.found.gone)
            unknown = self._unknown()
            self._moves.doubtful |= bool(unknown)
            moving = sorted({*self._moves.moved(), *self._moves.away()})
            hopeless = sum(party.hopeless for party in parties)
            over = not (len(unknown) > hopeless or moving or len(quiet) < len(parties))
            if loop.time() >= end or (over and last):
                found = {party.name: party.found for party in parties if not party.why}
                return Everywhere(found, tuple(unknown), tuple(moving))
            last = over
            if not over:
                await asyncio.sleep(min(_REST_SECONDS, _until(end)))

    def _meet(self) -> None:
        """Take in which replicas there are."""
        links = self._replicas.links
        self._moves.doubtful |= not self._replicas.counted or not all(link.known for link in links)
        for link in [link for link in self._parties if link is not None and link not in links]:
            del self._parties[link]
            self._moves.doubtful = True
        for link in links:
            if link not in self._parties:
                self._parties[link] = _Party(link, link.boot, self._awaited, self._known)

    def _unknown(self) -> list[Unknown]:
        own = self._replicas.name
        found = [Unknown(party.name or own, party.why) for party in self._parties.values() if party.why]
        found += [Unknown(link.name, "it has just come") for link in self._replicas.links if link not in self._parties]
        if not self._replicas.counted:
            found.append(Unknown(_NOWHERE, "it is not known yet which replicas there are"))
        return found

    async def _ask(self, moved: Mapping[str, str], end: float, *, everyone: bool) -> None:
        """One round."""
        at: dict[str, list[str]] = {}
        for proxy, name in moved.items():
            at.setdefault(name, []).append(proxy)
        tasks = {
            asyncio.create_task(self._answer(party, at.get(party.name, []), end)): party
            for party in self._parties.values()
            if everyone or party.name in at or not (party.settled or party.hopeless)
        }
        if not tasks:
            return
        try:
            _, late = await asyncio.wait(tasks, timeout=_until(end) + _GRACE_SECONDS)
            for task in late:
                tasks[task].why, tasks[task].hopeless = "it does not answer in time", False
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _answer(self, party: _Party, moved: Sequence[str], end: float) -> None:
        until = min(end, asyncio.get_running_loop().time() + _ROUND_SECONDS)
        if party.link is None:
            question = party.question(moved, _until(until))
            party.take(question, await confirmed_here(self._context, question, until, self._changed))
            return
        try:
            with party.link.waiting() as free:
                if not free:
                    await asyncio.sleep(min(party.rest(), _until(until)))
                question = party.question(moved, _until(until) if free else 0.0)
                found = await party.link.ask("POST", "/confirmed", Found, body=question, patience=_PATIENCE_SECONDS)
        except LinkError as error:
            party.why, party.hopeless = str(error), isinstance(error, NotServedError)
            return
        if found.boot == self._replicas.boot:
            party.link.is_own = True
        party.take(question, found)


def _until(end: float) -> float:
    """Seconds that are left."""
    return max(0.0, end - asyncio.get_running_loop().time())
