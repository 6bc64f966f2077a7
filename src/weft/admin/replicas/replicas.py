"""The other replicas of this control plane, together: what is known of their proxies, and of which replicas nothing is.

A replica that does not answer is no reason to wait, and none to say that its proxies are not there: they go on with
what they hold, and are unknown until it answers or its Pod is gone.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import quote

from weft.admin.replicas.links import MISSED_SECONDS, Link, LinkError, ended
from weft.admin.replicas.rows import Agent, Confirmed, InForce, Question, Statuses, Step, document_digest
from weft.aio.cell import Cell
from weft.discovery.status import Lack, ProxyStatus
from weft.model.document import Document
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.replicas import Place

_AWAY_SECONDS = 15.0
"""For which a replica may be silent before that is a Problem: one that starts or ends is."""
_WAITING = Lack("has not confirmed it yet")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A replica whose proxies nobody knows, and why."""

    replica: str
    why: str


class Places(Protocol):
    """Where replicas are, this one among them; None: not known yet."""

    @property
    def places(self) -> Cell[tuple[Place, ...] | None]:
        """The last value."""

    def problems(self) -> tuple[Problem, ...]:
        """Why that is not known."""

    async def run(self) -> None:
        """Follow for ever."""


class Replicas:
    """See the module. Without `places` this replica is the only one. `port` is that of the agent API, the same at each;
    `boot` names this process, `tls` gives the context of its links."""

    def __init__(
        self,
        places: Places | None = None,
        port: int = 0,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        boot: str = "",
    ) -> None:
        self._places = places
        self._port = port
        self._tls = tls
        self.boot = boot
        """Names this process."""
        self._links: dict[Place, tuple[Link, asyncio.Task[None]]] = {}
        self._away: dict[str, float] = {}
        self._missed: dict[str, tuple[str, float]] = {}
        self.news: Cell[int] = Cell(0)
        """Set when something is told by another replica."""

    async def run(self) -> None:
        """Follow where replicas are, and each of them, for ever."""
        if self._places is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._places.run())
            version = 0
            try:
                while True:
                    version = await self._places.places.changed(version)
                    await self._meet(self._places.places.value or ())
            finally:
                await self._meet(())

    async def _meet(self, places: tuple[Place, ...]) -> None:
        self.missed()
        for place in [place for place in self._links if place not in places]:
            link, task = self._links.pop(place)
            await ended(task)
            if link.counts:
                now = time.monotonic()
                there = link.missed | dict.fromkeys(link.proxies(), now)
                self._missed |= {proxy: (link.name, since) for proxy, since in there.items()}
        for place in places:
            if place not in self._links:
                link = Link(place.name, place.host, self._port, self._tls, self.boot)
                self._links[place] = (link, asyncio.create_task(link.run(self._told)))
        self._told()

    def _told(self) -> None:
        self.news.set(self.news.value + 1)

    @property
    def links(self) -> list[Link]:
        """The others."""
        return [link for link, _ in self._links.values() if link.counts]

    @property
    def name(self) -> str:
        """That of this one, as the others call it, once it was found among them."""
        return next((link.name for link, _ in self._links.values() if link.is_own), "(asked)")

    @property
    def alone(self) -> bool:
        """Whether there can be no others."""
        return self._places is None

    @property
    def counted(self) -> bool:
        """Whether it is known how many others there are."""
        return self._places is None or self._places.places.value is not None

    # what is known

    def unknown(self) -> list[Unknown]:
        """The replicas of whose proxies nothing is known."""
        return [Unknown(link.name, link.failure) for link in self.links if not link.known]

    def connects(self, proxy: str) -> bool:
        """Whether a proxy is connected to another replica."""
        return any(link.connects(proxy) for link in self.links)

    def have_taken(self, step: Step) -> bool:
        """Whether the proxies of all others have done a step."""
        found = [link.step() for link in self.links]
        return all(one is not None and one.change == step.change and one.taken >= step.taken for one in found)

    def lacks(self, document: Document[object], proxy: str) -> Lack | None:
        """What a proxy that is not connected here has not taken of a Gateway; None: nothing. What it holds counts by
        what the document says, since each replica has revisions of its own."""
        digest = ""
        found: Lack | None = Lack("is not connected")
        for link in self.links:
            standing = link.standing(str(document.key), proxy)
            if standing is None:
                found = _WAITING if link.connects(proxy) else found
                continue
            digest = digest or document_digest(document)
            lack = standing.lack if standing.digest == digest else _WAITING
            if lack is None or lack.refused:
                return lack
            found = lack
        unknown = self.unknown()
        if unknown and found is not None and found is not _WAITING:
            return Lack(f"may be connected to {unknown[0].replica}, which is unknown: {unknown[0].why}")
        return found

    def problems(self) -> tuple[Problem, ...]:
        """Which of the others have been away for long, and why it is not known where they are."""
        now = time.monotonic()
        away = {one.replica: one.why for one in self.unknown()}
        self._away = {name: self._away.get(name, now) for name in away}
        found = [_away(name, away[name]) for name, since in self._away.items() if now - since >= _AWAY_SECONDS]
        return (*found, *(self._places.problems() if self._places is not None else ()))

    def troubles(self) -> tuple[Problem, ...]:
        """What is wrong with the proxies of the others."""
        return tuple(row.problem for link in self.links for row in link.troubles())

    def agents(self, key: str) -> list[Agent]:
        """What the agent of a registration said to others."""
        return [said for link in self.links if (said := link.agent(key)) is not None]

    def proxies(self) -> list[str]:
        """The proxies that are connected to the others."""
        return list(dict.fromkeys(proxy for link in self.links for proxy in link.proxies()))

    def whereabouts(self) -> dict[str, str]:
        """By the name of each proxy that is connected to one of the others, that replica."""
        return {proxy: link.name for link in self.links for proxy in link.proxies()}

    # what is asked

    async def in_force(self) -> dict[str, int]:
        """The revision that is in force at each of the others that answers, by the process."""
        answers = await self._all(lambda link: link.ask("GET", "/revision", InForce))
        return {answer.boot: answer.revision for _, answer in answers if not isinstance(answer, Unknown)}

    async def statuses(self) -> tuple[list[tuple[str, ProxyStatus]], list[Unknown]]:
        """The streams of the others, each with the replica's name, and of which replicas they are not known."""
        answers = await self._all(lambda link: link.ask("GET", "/proxies", Statuses))
        found = [(name, one) for name, answer in answers if not isinstance(answer, Unknown) for one in answer.proxies]
        return found, [answer for _, answer in answers if isinstance(answer, Unknown)]

    async def config(self, proxy: str, word: str) -> dict[str, object] | None:
        """What a proxy is given that is connected to another replica, as the admin API there says it; None: it is
        connected to none that answers."""
        path = f"/proxies/{quote(proxy, safe='')}/config/{quote(word, safe='')}"
        for link in self.links:
            if link.connects(proxy):
                try:
                    return await link.ask("GET", path, dict[str, object])
                except LinkError:
                    continue
        return None

    async def drained(self, proxy: str, pod: str, wait: float) -> list[str]:
        """Wait until the callers of a workload that are connected to others know that it takes no new requests; those
        that do not. Of a replica that does not answer nobody knows."""
        question = Question(proxy, pod, wait)
        answers = await self._all(lambda link: link.ask("POST", "/drained", Confirmed, body=question, patience=wait))
        pending = []
        for name, answer in answers:
            if isinstance(answer, Unknown) or not answer.known:
                pending.append(f"replica {name}")
            else:
                pending += [*answer.pending, *(nack.proxy for nack in answer.nacked)]
        return list(dict.fromkeys(pending))

    def missed(self) -> dict[str, tuple[str, float]]:
        """The proxies that were connected to another one until lately, which may be gone itself: to which, and until
        when (`time.monotonic`)."""
        begin = time.monotonic() - MISSED_SECONDS
        self._missed = {proxy: last for proxy, last in self._missed.items() if last[1] > begin}
        of_links = ((proxy, (link.name, at)) for link in self.links for proxy, at in link.missed.items() if at > begin)
        return self._missed | dict(of_links)

    async def _all(self, ask: Callable[[Link], Awaitable[ResultT]]) -> list[tuple[str, ResultT | Unknown]]:
        """What each of the others answers, by its name."""

        async def one(link: Link) -> tuple[str, ResultT | Unknown]:
            try:
                return link.name, await ask(link)
            except LinkError as error:
                return link.name, Unknown(link.name, str(error))

        return list(await asyncio.gather(*map(one, self.links)))


def _away(name: str, why: str) -> Problem:
    text = f"replica {name} of the control plane is unknown ({why}), and so are its proxies, which go on"
    expected = "a network that lets control planes reach each other at the port of the agent API"
    return Problem(Severity.WARNING, "replica-away", text, Origin("weft"), expected=expected)
