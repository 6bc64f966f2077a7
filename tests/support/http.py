"""A small HTTP client for tests: direct or through an explicit proxy, nothing hidden."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    set_cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One keep-alive connection. With `proxy`, absolute-form requests go to it, as HTTP_PROXY clients send them."""

    def __init__(self, proxy: tuple[str, int] | None = None, timeout: float = 15.0) -> None:
        self._proxy = proxy
        self._timeout = timeout
        self._open: dict[tuple[str, int], http.client.HTTPConnection] = {}

    def __call__(
        self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request and read the whole answer."""
        parts = urlsplit(url)
        address = self._proxy or (parts.hostname or "", parts.port or 80)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = self._open.get(address)
        if connection is None:
            connection = self._open[address] = http.client.HTTPConnection(*address, timeout=self._timeout)
        started = time.monotonic()
        try:
            connection.request(method, url if self._proxy else path, body, dict(headers or {}))
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            del self._open[address]
            raise
        lower = {name.lower(): value for name, value in answer.getheaders()}
        cookies = tuple(value for name, value in answer.getheaders() if name.lower() == "set-cookie")
        return Answer(answer.status, lower, content, time.monotonic() - started, cookies)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()


@dataclass
class Load:
    """What an open-loop load saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(self.statuses.values())


async def steady_load(
    url: str,
    proxy: str | None,
    rate: float,
    during: Callable[[], Awaitable[None]],
    limit: float = 120.0,
    *,
    context: ssl.SSLContext | None = None,
    least: int = 0,
    fresh: bool = False,
) -> Load:
    """Send `rate` requests a second, open loop, while `during` runs, and until `least` were sent (at most `limit`
    seconds); failures are kept. With a `context` for TLS, or `fresh`, each has a connection of its own."""
    load = Load()
    stop = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0, ssl=context or True, force_close=fresh or context is not None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one() -> None:
            try:
                async with session.get(url, proxy=proxy) as answer:
                    body = await answer.read()
                    load.statuses[str(answer.status)] += 1
                    if answer.status != 200:
                        load.failures.append(f"{answer.status} {dict(answer.headers)} {body[:200]!r}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                load.statuses["error"] += 1
                load.failures.append(f"{time.time():.3f} {error!r}")

        async def pace() -> None:
            async with asyncio.TaskGroup() as group:
                start, sent = time.monotonic(), 0
                while (not stop.is_set() or sent < least) and time.monotonic() - start < limit:
                    due = int((time.monotonic() - start) * rate)
                    for _ in range(min(due - sent, 50)):
                        group.create_task(one())
                        sent += 1
                    await asyncio.sleep(0.005)

        pacing = asyncio.create_task(pace())
        try:
            await during()
        finally:
            stop.set()
            await pacing
    return load


def tls_context(ca: str, chain: str = "", key: str = "") -> ssl.SSLContext:
    """A client context that trusts `ca` for any host name; with `chain` and `key` it shows a certificate."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    if chain:
        context.load_cert_chain(chain, key)
    return context
