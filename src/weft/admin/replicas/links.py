"""Links to other replicas: what they tell is followed, and they are asked, over mutual TLS with our own identity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from weft.admin.replicas.rows import Agent, Connected, Page, Row, Standing, Step, Trouble, rows_of, standing_id
from weft.aio.backoff import Backoff
from weft.aio.connector import Connector
from weft.model.addresses import host_and_port
from weft.model.printable import printable

ROOT = "/v1/replica"
_WAIT_SECONDS = 20.0
_ANSWER_SECONDS = 3.0
_CONNECT_SECONDS = 2.0
_REST_SECONDS = 0.1
_LARGEST = 16 * 1024 * 1024
_MOST_ROWS = 100_000
MISSED_SECONDS = 20.0
"""For a proxy whose replica is away, until it has noticed that and found another."""
_CONNECTIONS = {"rows": 1, "drained": 3, "confirmed": 2}
_OTHER_CONNECTIONS = 1
"""By the first word of what is asked: who waits for proxies holds up nothing else. In sum fewer than a server
keeps of one identity."""
_SINCE_LATER = frozenset(("/confirmed", "/revision"))
"""What the first release with replicas does not answer."""
_log = logging.getLogger("weft.replicas")
AnswerT = TypeVar("AnswerT")


class LinkError(Exception):
    """The other replica gave no answer, or none that can be read; the message says why."""


class NotServedError(LinkError):
    """It knows no such question: it is of an earlier release."""


class Link:
    """One other replica, called `name`. `tls` gives the context of now, by which both sides prove that they are the
    control plane of this mesh. `own` is the boot of this process: a replica with that one is this one."""

    def __init__(self, name: str, host: str, port: int, tls: Callable[[], ssl.SSLContext], own: str) -> None:
        self.name = name
        self.place = (host, port)
        self._url = f"https://{host_and_port(host, str(port))}{ROOT}"
        self._tls = tls
        self._own = own
        self._rows: dict[str, Row] = {}
        self._boot = ""
        self._number = 0
        self._backoff = Backoff(0.2, 5.0)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._waiting = 0
        self.missed: dict[str, float] = {}
        """The proxies that were connected there until lately, and until when (`time.monotonic`)."""
        self.is_own = False
        self.known = False
        """Whether everything that it tells is known."""
        self.failure = "it was not asked yet"
        """Why not."""

    @property
    def counts(self) -> bool:
        """Whether it is another replica, as far as is known."""
        return not self.is_own

    @property
    def boot(self) -> str:
        """The process that is known there; empty: none."""
        return self._boot

    def standing(self, document: str, proxy: str) -> Standing | None:
        """What a proxy that is connected there holds of a Gateway."""
        found = self._rows.get(standing_id(document, proxy))
        return found if isinstance(found, Standing) else None

    def connects(self, proxy: str) -> bool:
        """Whether a proxy is connected there."""
        return f"proxy {proxy}" in self._rows

    def agent(self, key: str) -> Agent | None:
        """What the agent of a registration said there."""
        found = self._rows.get(f"agent {key}")
        return found if isinstance(found, Agent) else None

    def step(self) -> Step | None:
        """How far it is in a change that is made in steps."""
        found = self._rows.get("step")
        return found if isinstance(found, Step) else None

    def troubles(self) -> list[Trouble]:
        """What is wrong with its proxies."""
        return [row for row in self._rows.values() if isinstance(row, Trouble)]

    def proxies(self) -> list[str]:
        """Which are connected there."""
        return [row.proxy for row in self._rows.values() if isinstance(row, Connected)]

    async def run(self, told: Callable[[], None]) -> None:
        """Follow it until it turns out to be this one; `told` is called when something is new."""
        try:
            while not self.is_own:
                try:
                    page = await self.ask("GET", "/rows", Page, self._from(), patience=_WAIT_SECONDS)
                    self._take(page)
                    self._backoff.reset()
                    told()
                    await asyncio.sleep(_REST_SECONDS)
                except LinkError as error:
                    self._lost(str(error))
                    told()
                    await asyncio.sleep(self._backoff.next())
        finally:
            await self._close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[bool]:
        """For a question about who has confirmed: whether its answer may be waited for over there. One connection is
        kept for those that are answered at once."""
        free = self._waiting < _CONNECTIONS["confirmed"] - 1
        self._waiting += free
        try:
            yield free
        finally:
            self._waiting -= free

    async def ask(
        self,
        method: str,
        path: str,
        answer: type[AnswerT],
        query: Mapping[str, str] | None = None,
        body: Any = None,
        patience: float = 0.0,
    ) -> AnswerT:
        """What it answers, which takes up to `patience` seconds more than answers do. LinkError."""
        timeout = aiohttp.ClientTimeout(total=patience + _ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
        data = msgspec.json.encode(body) if body is not None else None
        try:
            session = self._connected(path.split("/")[1])
            url = f"{self._url}{path}"
            options: Any = {"ssl": self._tls(), "allow_redirects": False, "timeout": timeout}
            async with session.request(method, url, params=query or {}, data=data, **options) as response:
                if response.status == 404 and path in _SINCE_LATER:
                    raise NotServedError("it is of an earlier release, which cannot be asked")
                if response.status != 200:
                    raise LinkError(f"it answers {response.status}")
                return msgspec.json.decode(await _body(response), type=answer)
        except TimeoutError as error:
            raise LinkError("it does not answer in time") from error
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            raise LinkError(_reason(error)) from error

    def _from(self) -> dict[str, str]:
        return {"boot": self._boot, "after": str(self._number), "wait": f"{_WAIT_SECONDS:g}"}

    def _connected(self, word: str) -> aiohttp.ClientSession:
        kind = word if word in _CONNECTIONS else ""
        if kind not in self._sessions:
            limit = _CONNECTIONS.get(kind, _OTHER_CONNECTIONS)
            connector = Connector(limit=limit)
            self._sessions[kind] = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._sessions[kind]

    async def _close(self) -> None:
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _take(self, page: Page) -> None:
        if page.boot == self._own:
            self.is_own = True
            return
        before = self.proxies() if page.whole or page.gone else []
        if page.whole:
            self._rows.clear()
        self._rows.update((row.id, row) for row in rows_of(page))
        for name in page.gone:
            self._rows.pop(name, None)
        self._miss(proxy for proxy in before if not self.connects(proxy))
        if len(self._rows) > _MOST_ROWS:
            raise LinkError(f"it tells of more than {_MOST_ROWS} things")
        self._boot, self._number = page.boot, page.number
        if not self.known:
            self.known, self.failure = True, ""
            _log.info("replica %s is known", self.name)

    def _miss(self, proxies: Iterable[str]) -> None:
        now = time.monotonic()
        self.missed = {proxy: since for proxy, since in self.missed.items() if now - since < MISSED_SECONDS}
        self.missed |= dict.fromkeys(proxies, now)

    def _lost(self, why: str) -> None:
        """Nothing of it is known any more: its proxies may be anywhere."""
        if self.known:
            _log.warning("replica %s is not known any more: %s", self.name, why)
        self._miss(self.proxies())
        self._rows.clear()
        self._boot, self._number = "", 0
        self.known, self.failure = False, why


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _LARGEST:
            raise LinkError(f"its answer is larger than {_LARGEST // 1024 // 1024} MiB")
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "it does not prove that it is the control plane of this mesh"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection can be made"
    if isinstance(error, msgspec.MsgspecError):
        return f"its answer cannot be read: {printable(str(error), 200)}"
    return f"the connection broke ({type(error).__name__})"


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
