"""Telling the control plane of the proxy's traffic: every two seconds while there is any, else nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable

from weft.agent.client import ControlPlaneClient, RefusedError
from weft.agent.deltas import Deltas
from weft.agent.errors import AgentError
from weft.agent.memory import Memory
from weft.agent.series import SERIES_QUERY, parse_reading
from weft.model.report import Report
from weft.processes.name import ProcessName

_LOG = logging.getLogger(__name__)
INTERVAL = 2.0
_LONGEST_IDLE = 6.0
"""Seconds between two looks at a proxy that nobody uses."""
_IDLER = 1.5
_LONGEST_AWAY = 10.0
_HERE_SECONDS = 60.0
"""After so long without news an agent that has a history says so: a control plane that has lost it asks for it then."""
_TIMEOUT = 5.0
_LAST_TIMEOUT = 1.0
_NOTHING_QUERY = "/stats?filter=^$"
_ROOM = 128 * 1024
"""Bytes of a report that are sums."""
_NOT_UNDERSTOOD = frozenset({400, 405, 413})
"""Answers that the same report would have again. 404 is that of a control plane that does not know us yet."""

Look = Callable[[str], Awaitable[bytes]]


class TrafficTeller:
    """Looks at one proxy and tells of it; `run` is its one task. `look` asks Envoy's admin interface, `proxy` names the
    process of Envoy that runs now, `trust_domain` is the workload's own (empty: not known yet)."""

    def __init__(
        self,
        client: ControlPlaneClient,
        look: Look,
        proxy: Callable[[], ProcessName | None],
        trust_domain: Callable[[], str] = str,
    ) -> None:
        self._client = client
        self._look = look
        self._proxy = proxy
        self._trust_domain = trust_domain
        self._agent = uuid.uuid4().hex
        self._sequence = 0
        self._deltas = Deltas()
        self._memory = Memory()
        self._adopted = ""
        self._last = b""
        self._looked = 0.0
        self._begun = self._total = 0
        self._heard = 0.0
        self._waiting = 0.0
        self._has_said = False
        self._greets = False

    @property
    def lag(self) -> float:
        """How long, in seconds, there has been traffic that the control plane was not told of; 0 if there is none."""
        return asyncio.get_running_loop().time() - self._waiting if self._waiting else 0.0

    def adopt(self) -> None:
        """The proxy that runs now has served before: what it has counted until the first look is not ours to tell."""
        self._adopted = self._name()

    async def run(self) -> None:
        """Look and tell, for ever."""
        clock = asyncio.get_running_loop().time
        self._looked = clock()
        idle = wait = INTERVAL
        while True:
            await asyncio.sleep(max(wait, idle))
            idle = INTERVAL if await self.look() else min(idle * _IDLER, _LONGEST_IDLE)
            wait = INTERVAL
            silent = self._memory.has_history and clock() - self._heard >= _HERE_SECONDS
            if self._memory.has_news or silent or self._greets or self._memory.left_out:
                wait = await self._tell_or_say_why(wait)

    async def last(self) -> None:
        """Look and tell once more, before the proxy or this agent ends; in a second, or not at all."""
        with contextlib.suppress(TimeoutError, AgentError):
            async with asyncio.timeout(_LAST_TIMEOUT):
                await self.look()
                if self._memory.has_news:
                    await self.tell()
        await self._client.close()

    async def look(self) -> bool:
        """Ask the proxy what it has counted; whether that is more than last time."""
        proxy, now = self._name(), asyncio.get_running_loop().time()
        body = await self._asked() if proxy else b""
        since, self._looked = self._looked, now
        self._memory.forget(now)
        if not body or (body == self._last and not self._adopted):
            return False
        self._last = body
        try:
            reading = parse_reading(body, self._trust_domain())
        except ValueError as error:
            _LOG.debug("cannot read what Envoy has counted: %s", error)
            return False
        if self._adopted:
            if self._adopted == proxy:
                self._begun = self._total = self._deltas.adopt(proxy, reading)
                self._greets = True  # what the agent before did not tell is to be known
            self._adopted = ""
            if self._begun:
                return False
        delta = self._deltas.since_last(proxy, reading)
        self._total = delta.total
        self._memory.left_out += delta.left_out
        if delta.edges:
            self._memory.add(delta.edges, since, now)
            self._waiting = self._waiting or now
        return bool(delta.edges)

    async def _asked(self) -> bytes:
        """What Envoy has counted. Each question makes it bring its sketches up to date, which it has done when the next
        one comes: so the first is for nothing."""
        await self._look(_NOTHING_QUERY)
        return await self._look(SERIES_QUERY)

    async def tell(self) -> float:
        """Send what there is; how many seconds the control plane wants to be left alone. AgentError when it is away."""
        now, memory = asyncio.get_running_loop().time(), self._memory
        if not memory.in_flight:
            self._sequence += 1
        pieces = memory.take(now, _ROOM)
        left_out = memory.left_out
        report = Report(
            agent=self._agent,
            sequence=self._sequence,
            cells=tuple(piece.cell(now) for piece in pieces),
            left_out=left_out,
            proxy=self._name(),
            begun=self._begun,
            total=self._total,
        )
        answer = await self._client.report(report, _TIMEOUT)
        if not answer.again:
            memory.left_out -= left_out
            memory.told(answer.instance, now)
            self._heard, self._greets = now, False
            self._waiting = 0.0
        return answer.interval

    async def _tell_or_say_why(self, wait: float) -> float:
        try:
            wait = await self.tell()
        except AgentError as error:
            if isinstance(error, RefusedError) and error.status in _NOT_UNDERSTOOD:
                self._memory.refused()
            if not self._has_said:
                _LOG.debug("the control plane was not told of traffic, trying again: %s", error)
            self._has_said = True
            return min(wait * 2, _LONGEST_AWAY)
        self._has_said = False
        return wait

    def _name(self) -> str:
        name = self._proxy()
        return hashlib.sha256(f"{name.pid} {name.began}".encode()).hexdigest()[:32] if name is not None else ""
