"""The requests of the day of edits: at a steady rate through every proxy in turn, each answer checked."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

import aiohttp

from bench.edits_documents import CALLED, STEPPED

_PATIENCE = aiohttp.ClientTimeout(total=15)
_AT_ONCE = 20
"""Requests that are made up for when the generator was late."""


@dataclass(frozen=True)
class Failure:
    """A request that failed, or was answered wrongly: when it was sent (monotonic seconds), and what came."""

    sent: float
    caller: str
    service: str
    text: str


@dataclass
class Requests:
    """What was sent, and what came of it. `proxies` are the URLs of the callers' proxies."""

    proxies: Mapping[str, str]
    sent: int = 0
    slowest: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    async def run(self, rate: float, during: Awaitable[None]) -> None:
        """Send `rate` requests a second until `during` is done."""
        pairs = itertools.cycle(itertools.product(self.proxies, CALLED))
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_PATIENCE) as session,
            asyncio.TaskGroup() as group,
        ):
            work = asyncio.ensure_future(during)
            begun, paced = time.monotonic(), 0
            while not work.done():
                due = int((time.monotonic() - begun) * rate)
                for _ in range(min(due - paced, _AT_ONCE)):
                    group.create_task(self._one(session, *next(pairs)))
                    paced += 1
                await asyncio.sleep(1 / rate / 2)
            await work

    async def _one(self, session: aiohttp.ClientSession, caller: str, service: str) -> None:
        sent = time.monotonic()
        self.sent += 1
        try:
            async with session.get(f"http://{service}/", proxy=self.proxies[caller]) as answer:
                body = await answer.text()
                wrong = fault(service, answer.status, answer.headers)
            if wrong:
                self.failures.append(Failure(sent, caller, service, f"{wrong}: {body[:200]!r}"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.failures.append(Failure(sent, caller, service, repr(error)))
        self.slowest = max(self.slowest, time.monotonic() - sent)

    async def steps(self) -> dict[tuple[str, str], str]:
        """Every caller calls every service once; the steps that they see where there are any."""
        async with aiohttp.ClientSession(timeout=_PATIENCE) as session:

            async def one(caller: str, service: str) -> tuple[tuple[str, str], str]:
                async with session.get(f"http://{service}/", proxy=self.proxies[caller]) as answer:
                    return (caller, service), answer.headers.get("step", "")

            found = dict(await asyncio.gather(*(one(*pair) for pair in itertools.product(self.proxies, CALLED))))
        return {pair: step for pair, step in found.items() if pair[1] in STEPPED}


def fault(service: str, status: int, headers: Mapping[str, str]) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if status != 200:
        return f"status {status}"
    if headers.get("X-Workload") not in CALLED[service]:
        return f"answered by {headers.get('X-Workload')}"
    if service in STEPPED and not headers.get("step", "").isdigit():
        return "without its header"
    return ""
