"""The relay: a query that is not for the mesh goes to the resolvers that were there, and their answer comes back.

What an answer must be to be believed: from the server that was asked, to the port it was asked from, with the random id
and the question it was asked with. Both port and id are new for each query.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from weft.agent.dns.answers import question_end
from weft.agent.dns.resolvers import Address

_LOG = logging.getLogger("weft.dns")
_TAIL = 4
"""Type and class, after the name of a question."""
_TRY_AGAIN = frozenset((2, 5))
"""SERVFAIL and REFUSED: another server may know."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Queries under way at once; seconds for one server, and for all of them: less than the five after which clients
    ask again."""

    at_once: int = 256
    one: float = 1.5
    all: float = 4.5


class LoopError(Exception):
    """A server leads back to us."""


class Relay:
    """Asks `resolvers` one after the other, that which answered last first."""

    def __init__(self, resolvers: Callable[[], tuple[Address, ...]], limits: RelayLimits | None = None) -> None:
        self._resolvers = resolvers
        self._limits = limits or RelayLimits()
        self._under_way = 0
        self._preferred: Address | None = None
        self._asking: dict[tuple[bool, Address], asyncio.Future[bytes]] = {}
        self._told_loop = False

    def came_back(self, source: Address, *, tcp: bool) -> bool:
        """Whether a query from `source` is one of ours, which was led back here. Its server is taken for dead."""
        future = self._asking.get((tcp, source))
        if future is None:
            return False
        if not future.done():
            future.set_exception(LoopError("the question came back"))
        if not self._told_loop:
            self._told_loop = True
            _LOG.warning("a resolver of this host leads back here; it is not asked. Name others with --dns-upstream")
        return True

    async def ask(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The answer to a query; None if nobody gives one in time. The id is that of the query, and so is the spelling
        of the name."""
        if self._under_way >= self._limits.at_once or question_end(query) == 0:
            return None
        self._under_way += 1
        last: bytes | None = None
        try:
            async with asyncio.timeout(self._limits.all):
                for server in self._in_order():
                    answer = await self._ask_one(server, query, tcp)
                    if answer is not None and answer[3] & 0x0F not in _TRY_AGAIN:
                        self._preferred = server
                        return answer
                    last = answer or last
        except TimeoutError:
            pass
        finally:
            self._under_way -= 1
        return last

    def _in_order(self) -> list[Address]:
        servers = self._resolvers()
        return sorted(servers, key=lambda each: each != self._preferred)

    async def _ask_one(self, server: Address, query: bytes, tcp: bool) -> bytes | None:
        sent = secrets.token_bytes(2) + query[2:]
        exchange = self._over_tcp if tcp else self._over_udp
        try:
            async with asyncio.timeout(self._limits.one):
                answer = await exchange(server, sent)
        except (TimeoutError, OSError, LoopError, asyncio.IncompleteReadError):
            return None
        end = question_end(answer)
        return query[:2] + answer[2:12] + query[12:end] + answer[max(12, end) :]

    async def _over_udp(self, server: Address, sent: bytes) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Question(sent, future), remote_addr=server
        )
        try:
            with self._noting(transport, future, tcp=False):
                return await future
        finally:
            transport.abort()

    async def _over_tcp(self, server: Address, sent: bytes) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reader, writer = await asyncio.open_connection(*server)
        try:
            with self._noting(writer.transport, future, tcp=True):
                writer.write(len(sent).to_bytes(2) + sent)
                reading = asyncio.ensure_future(_read_answer(reader, sent))
                try:
                    await asyncio.wait((reading, future), return_when=asyncio.FIRST_COMPLETED)
                    return future.result() if future.done() else reading.result()
                finally:
                    reading.cancel()
        finally:
            writer.transport.abort()

    @contextlib.contextmanager
    def _noting(self, transport: asyncio.BaseTransport, future: asyncio.Future[bytes], *, tcp: bool) -> Iterator[None]:
        """Know our own queries by where they come from, should they come back."""
        own = (tcp, transport.get_extra_info("sockname")[:2])
        self._asking[own] = future
        try:
            yield
        finally:
            del self._asking[own]


class _Question(asyncio.DatagramProtocol):
    """One query over UDP: `future` gets the first datagram that answers it, or the error that the network tells."""

    def __init__(self, sent: bytes, future: asyncio.Future[bytes]) -> None:
        self._sent = sent
        self._future = future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.DatagramProtocol."""
        cast(asyncio.DatagramTransport, transport).sendto(self._sent)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        """See asyncio.DatagramProtocol. What does not answer our question is as if it had not come."""
        if not self._future.done() and answers(self._sent, data):
            self._future.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """See asyncio.DatagramProtocol."""
        if not self._future.done():
            self._future.set_exception(exc)


async def _read_answer(reader: asyncio.StreamReader, sent: bytes) -> bytes:
    while True:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        if answers(sent, data):
            return data


def answers(query: bytes, data: bytes) -> bool:
    """Whether `data` is an answer to `query`: its id and its question, whatever the case of the name. Only an answer
    that tells of an error may do without the question."""
    if len(data) < 12 or data[:2] != query[:2] or not data[2] & 0x80:
        return False
    if data[4:6] == b"\0\0":
        return bool(data[3] & 0x0F)
    end = question_end(query)
    if end == 0 or question_end(data) != end:
        return False
    name, tail = slice(12, end - _TAIL), slice(end - _TAIL, end)
    return data[name].lower() == query[name].lower() and data[tail] == query[tail]
