"""The server: questions over UDP and TCP on loopback, each answered from the directory or by the relay, in bounds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import dns.rcode

from weft.agent.dns.answers import MOST_PAYLOAD as _DATAGRAM
from weft.agent.dns.answers import (
    Answerer,
    Relay,
    alias_answer,
    alias_query,
    failure_with_question,
    payload,
    truncated,
)
from weft.agent.dns.relay import Relay as Relaying
from weft.agent.dns.resolvers import Address

_LOG = logging.getLogger("weft.dns")
_MESSAGE = 65_535
_MOST_ALIASES = 8
_TRIES = 20


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Datagrams larger than `query` bytes are no questions; `connections` over TCP at once, each `idle` seconds long
    without a question; `at_once` datagrams that wait for others' answers."""

    query: int = 4096
    connections: int = 64
    idle: float = 10.0
    at_once: int = 256


class Responder:
    """Answers queries. `answerer` gives the one of the moment, since names change."""

    def __init__(self, answerer: Callable[[], Answerer], relay: Relaying, limits: ServerLimits | None = None) -> None:
        self._answerer = answerer
        self.relay = relay
        self.limits = limits or ServerLimits()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def answer(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The answer to a query; None if it deserves none."""
        limit = _MESSAGE if tcp else _DATAGRAM
        answerer = self._answerer()
        found = answerer.answer(query, limit)
        if not isinstance(found, Relay):
            return found
        if not found.alias:
            answer = await self.relay.ask(query, tcp=tcp)
            return self._fitting(query, answer, tcp=tcp)
        return await self._follow(answerer, query, found, tcp=tcp)

    async def _follow(self, answerer: Answerer, query: bytes, alias: Relay, *, tcp: bool) -> bytes:
        """Answer for what a name stands for: perhaps another one of the mesh."""
        asked, last = alias_query(query, alias.alias), alias
        for _ in range(_MOST_ALIASES):
            found = answerer.answer(asked, _MESSAGE)
            if not isinstance(found, Relay):
                return alias_answer(query, alias, found or b"", _MESSAGE if tcp else _DATAGRAM)
            if not found.alias:
                answer = await self.relay.ask(asked, tcp=tcp)
                return alias_answer(query, alias, answer or b"", _MESSAGE if tcp else _DATAGRAM)
            asked, last = alias_query(asked, found.alias), found
        _LOG.warning("names that stand for each other, the last of them for %s", last.alias)
        return failure_with_question(query, dns.rcode.SERVFAIL)

    def _fitting(self, query: bytes, answer: bytes | None, *, tcp: bool) -> bytes:
        if answer is None:
            return failure_with_question(query, dns.rcode.SERVFAIL)
        return truncated(query) if not tcp and len(answer) > payload(query) else answer

    # UDP

    def datagram(self, transport: asyncio.DatagramTransport, query: bytes, source: tuple[object, ...]) -> None:
        """A question has come. What the mesh knows is answered at once; for others a bounded number may wait."""
        if len(query) > self.limits.query or self.relay.came_back(_address(source), tcp=False):
            return
        found = self._answerer().answer(query, _DATAGRAM)
        if isinstance(found, bytes):
            transport.sendto(found, source)
        elif found is not None and len(self._tasks) < self.limits.at_once:
            task = asyncio.get_running_loop().create_task(self._relayed(transport, query, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif found is not None:
            transport.sendto(failure_with_question(query, dns.rcode.SERVFAIL), source)

    async def _relayed(self, transport: asyncio.DatagramTransport, query: bytes, source: tuple[object, ...]) -> None:
        answer = await self.answer(query, tcp=False)
        if answer is not None and not transport.is_closing():
            transport.sendto(answer, source)

    # TCP

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: its questions one after the other (RFC 7766)."""
        own = cast("asyncio.Task[None]", asyncio.current_task())
        if len(self._connections) >= self.limits.connections:
            writer.transport.abort()
            return
        self._connections.add(own)
        try:
            await self._questions(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(own)
            writer.close()

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(self.limits.idle):
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            if self.relay.came_back(_address(writer.get_extra_info("peername")), tcp=True):
                return
            answer = await self.answer(query, tcp=True)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2) + answer)
            async with asyncio.timeout(self.limits.idle):
                await writer.drain()

    async def close(self) -> None:
        """End what is under way."""
        under_way = (*self._tasks, *self._connections)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


class _Datagrams(asyncio.DatagramProtocol):
    """A bound UDP socket."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.DatagramProtocol."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """See asyncio.DatagramProtocol."""
        if self._transport is not None:
            self._responder.datagram(self._transport, data, addr)


@contextlib.asynccontextmanager
async def listening(responder: Responder, addresses: Sequence[Address]) -> AsyncIterator[tuple[Address, ...]]:
    """Serve at these addresses, over both protocols; where. Port 0 is any. OSError if one cannot be bound."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(responder.close)
        bound: list[Address] = []
        for address in addresses:
            datagrams, server = await _bind(responder, address)
            stack.callback(datagrams.close)
            stack.callback(server.close)
            bound.append(datagrams.get_extra_info("sockname")[:2])
        yield tuple(bound)


async def _bind(responder: Responder, address: Address) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
    """Both protocols at one port. Of any port, that for UDP may be somebody else's for TCP."""
    loop, tries = asyncio.get_running_loop(), 1 if address[1] else _TRIES
    while True:
        tries -= 1
        datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(responder), local_addr=address)
        where: Address = datagrams.get_extra_info("sockname")[:2]
        try:
            return datagrams, await asyncio.start_server(responder.connection, *where, limit=_MESSAGE + 2, backlog=128)
        except OSError:
            datagrams.close()
            if not tries:
                raise


def _address(source: object) -> Address:
    return source[:2] if isinstance(source, tuple) else ("", 0)
