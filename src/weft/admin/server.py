"""An HTTP server with bounds: connections in all and of one caller, silence before the first request, hand-shake time.

When it is full, the oldest connection of somebody who has not proven who he is makes room, so that strangers who hold
connections keep nobody else out for longer than they take to reconnect. Who has proven it has a few connections: the
oldest of them makes room for a newer one of his.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Middleware

from weft.admin.replies import Handler, errors_as_json
from weft.admin.room import PROMPT_SECONDS, of_address_to_go, one_to_go
from weft.aio.collection import Remains

HANDSHAKE_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75.0
STOP_SECONDS = 0.5
_GOODBYE_SECONDS = 5.0
"""For the client to say that it has seen the end of a TLS connection."""
_LINGERING_SECONDS = 1.0
_BACKLOG = 512
_SHORTAGE_SECONDS = 0.1
_REMAINS = 16
"""After so many connections have ended their cycles are looked for: what is not HTTP leaves an error that holds the
frames of its connection, and with them up to a megabyte of buffers."""
_TELL_SECONDS = 60.0
_log = logging.getLogger("weft.http")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`connections` at once, of one caller at most `of_one`; `silence` seconds a new connection may take until its
    first request has its headers. Where `of_address` is not 0, one address has at most so many, and who has most makes
    room (`weft.admin.room`)."""

    connections: int = 1024
    of_one: int = 8
    silence: float = 20.0
    of_address: int = 0


@dataclass(frozen=True, slots=True)
class Secured:
    """A bound socket, and the TLS that is spoken there."""

    listener: socket.socket
    tls: ssl.SSLContext | None


Identify = Callable[[asyncio.BaseTransport], str]
"""Who is at the other end of a connection, as far as its hand-shake has proven it; empty for a stranger."""


def _nobody(_: asyncio.BaseTransport) -> str:
    return ""


def _nothing() -> None:
    pass


class _Connection(asyncio.Protocol):
    """One connection, around aiohttp's protocol for it: whose it is, and whether a request ever came."""

    def __init__(self, inner: asyncio.Protocol, acceptor: _Acceptor, since: float, address: str) -> None:
        self._inner = inner
        self._acceptor = acceptor
        self.since = since
        self.address = address
        self.busy = False
        self.transport: asyncio.BaseTransport | None = None
        self.task: asyncio.Task[None] | None = None
        self.identity = ""
        self.authenticated = False
        self.has_requested = False
        self.stays = False
        self._silence: asyncio.TimerHandle | None = None

    def expect_request(self, seconds: float) -> None:
        """Close it unless a request came by then. The timer ends with the connection: it would keep its TLS buffers."""
        if self.transport is not None:
            self._silence = asyncio.get_running_loop().call_later(seconds, self._drop_if_silent)

    def _drop_if_silent(self) -> None:
        if not self.has_requested:
            self.abort()

    def stay(self) -> None:
        """Another request may come, if there is room for those who come anew."""
        self.stays = self._acceptor.has_room()

    def abort(self) -> None:
        """Close it at once."""
        if self.task is not None:
            self.task.cancel()
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = transport
        self._acceptor.admit(self, transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._inner.connection_lost(exc)
        self._acceptor.forget(self)
        if self._silence is not None:
            self._silence.cancel()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._inner.resume_writing()


_CONNECTIONS: web.AppKey[dict[asyncio.BaseTransport, _Connection]] = web.AppKey("connections", dict)
_ONE_REQUEST: web.AppKey[bool] = web.AppKey("one-request", bool)
Answered = Callable[[int], None]
"""Called with the status of every answer."""
_ANSWERED: web.AppKey[Answered] = web.AppKey("answered")


def _ignore_status(_: int) -> None:
    pass


def new_application(
    *middlewares: Middleware, body_limit: int, one_request: bool = False, answered: Answered = _ignore_status
) -> web.Application:
    """An application that answers errors in JSON and takes bodies up to `body_limit` bytes; with `one_request` a
    connection ends with its first answer, but for those of `keep_connection`."""
    application = web.Application(middlewares=[_note_request, errors_as_json, *middlewares], client_max_size=body_limit)
    application[_CONNECTIONS] = {}
    application[_ONE_REQUEST] = one_request
    application[_ANSWERED] = answered
    return application


def mark_authenticated(request: web.Request) -> None:
    """The sender of `request` has proven who it is: its connection is not closed to make room for others."""
    if connection := _connection_of(request):
        connection.authenticated = True


def keep_connection(request: web.Request) -> None:
    """The sender may send another request on this connection, though others end with their first answer; unless half
    of all connections are in use, which leaves the other half to those who come anew."""
    if connection := _connection_of(request):
        connection.stay()


def _connection_of(request: web.Request) -> _Connection | None:
    return request.config_dict[_CONNECTIONS].get(request.transport) if request.transport is not None else None


@web.middleware
async def _note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection = _connection_of(request)
    if connection is None:
        response = await handler(request)
    else:
        connection.has_requested, connection.stays, connection.busy = True, False, True
        try:
            response = await handler(request)
        finally:
            connection.busy = False
    request.config_dict[_ANSWERED](response.status)
    if request.config_dict[_ONE_REQUEST] and not (connection and connection.stays):
        response.force_close()
    return response


@contextlib.asynccontextmanager
async def serving(
    application: web.Application,
    listener: socket.socket,
    tls: ssl.SSLContext | None = None,
    limits: ServerLimits = ServerLimits(),
    *,
    identify: Identify = _nobody,
    turned_away: Callable[[], None] = _nothing,
    also: Secured | None = None,
) -> AsyncIterator[None]:
    """Serve on a bound socket, and `also` at another address over TLS, while the context is open; requests under way
    get a moment at the end.

    `identify` is asked once, after the hand-shake. `turned_away` is called whenever somebody could not be served for
    want of room who may be honest.
    """
    _log.addFilter(_is_our_fault)
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=_log,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        shutdown_timeout=STOP_SECONDS,
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("aiohttp made no server")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        for one in (Secured(listener, tls), *([also] if also else [])):
            acceptor = _Acceptor(server, application[_CONNECTIONS], one.tls, limits, identify, turned_away)
            await stack.enter_async_context(_accepting(acceptor, one.listener))
        yield


@contextlib.asynccontextmanager
async def _accepting(acceptor: _Acceptor, listener: socket.socket) -> AsyncIterator[None]:
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    accepting = asyncio.create_task(acceptor.accept(listener))
    try:
        yield
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        listener.close()
        await acceptor.close()


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Faults of ours are logged. What strangers send that is not HTTP is their fault, as is leaving early, and there is
    no end to it."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, HttpProcessingError | ConnectionError)


class _Acceptor:
    """Accepts connections, each with a task until its hand-shake is done; oldest first."""

    def __init__(
        self,
        server: web.Server,
        by_transport: dict[asyncio.BaseTransport, _Connection],
        tls: ssl.SSLContext | None,
        limits: ServerLimits,
        identify: Identify,
        turned_away: Callable[[], None],
    ) -> None:
        self._server = server
        self._by_transport = by_transport
        self._tls = tls
        self._limits = limits
        self._identify = identify
        self._turned_away = turned_away
        self._told = float("-inf")
        self._connections: dict[_Connection, None] = {}
        self._remains = Remains(_REMAINS)

    async def accept(self, listener: socket.socket) -> None:
        """Accept for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError:  # the client is gone again, or there is no file left for it
                self._turn_away()
                self._make_room()
                await asyncio.sleep(_SHORTAGE_SECONDS)
                continue
            address = peer[0] if isinstance(peer, tuple) else ""
            room = self._has_room_of(address)
            if room and (len(self._connections) < self._limits.connections or self._make_room()):
                self._take(accepted, address)
            else:
                self._turn_away()
                accepted.close()
            await asyncio.sleep(0)  # others get their turn, however many connections come in

    def _take(self, accepted: socket.socket, address: str) -> None:
        connection = _Connection(self._server(), self, asyncio.get_running_loop().time(), address)
        self._connections[connection] = None
        connection.task = asyncio.create_task(self._open(connection, accepted))

    async def close(self) -> None:
        """Give up hand-shakes under way."""
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, connection: _Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls is None:
                await loop.connect_accepted_socket(lambda: connection, accepted)
            else:
                await _first_byte(accepted)
                await loop.connect_accepted_socket(
                    lambda: connection,
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=_GOODBYE_SECONDS,
                )
        except BaseException as error:
            self.forget(connection)
            # The error, its frames and what they wait for hold each other, and with them a quarter of a megabyte of
            # TLS buffers, until cycles are looked for, which is seldom.
            traceback.clear_frames(error.__traceback__)
            failed = isinstance(error, OSError)  # also one that took too long; the socket is closed
            if not failed:
                raise
        else:
            connection.expect_request(self._limits.silence)

    def has_room(self) -> bool:
        """Whether no more than half of the connections are in use."""
        return len(self._connections) * 2 <= self._limits.connections

    def admit(self, connection: _Connection, transport: asyncio.BaseTransport) -> None:
        """The hand-shake is done: from now on it counts for who is there."""
        self._by_transport[transport] = connection
        connection.identity = self._identify(transport)
        if connection.identity:
            connection.authenticated = True
            of_it = [one for one in self._connections if one.identity == connection.identity]
            for one in of_it[: -self._limits.of_one]:
                self._drop(one)

    def forget(self, connection: _Connection) -> None:
        """It has ended: it counts no more."""
        if connection in self._connections:
            del self._connections[connection]
            self._remains.one_more()
        if connection.transport is not None:
            self._by_transport.pop(connection.transport, None)

    def _drop(self, connection: _Connection) -> None:
        self.forget(connection)
        connection.abort()

    def _turn_away(self) -> None:
        """Somebody who may be honest is not served: say so, in the log now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            _log.warning(
                "%d connections are open, and no more are taken: callers are turned away", len(self._connections)
            )
        self._turned_away()

    def _has_room_of(self, address: str) -> bool:
        """Whether `address` may have one more, for which another of it may have to go."""
        most = self._limits.of_address
        if not most or sum(one.address == address for one in self._connections) < most:
            return True
        chosen = of_address_to_go(self._connections, address)
        if chosen is not None:
            self._drop(chosen)
        return chosen is not None

    def _make_room(self) -> bool:
        """Close the oldest connection of a stranger, else of the caller who has most; whether there was one."""
        if self._limits.of_address:
            now = asyncio.get_running_loop().time()
            chosen = one_to_go(self._connections, now)
            if chosen is not None:
                if chosen.authenticated or now - chosen.since < PROMPT_SECONDS:
                    self._turn_away()
                self._drop(chosen)
            return chosen is not None
        chosen = next((one for one in self._connections if not one.authenticated), None)
        if chosen is not None and asyncio.get_running_loop().time() - chosen.since < PROMPT_SECONDS:
            self._turn_away()
        if chosen is None:
            counts = Counter(one.identity for one in self._connections if one.identity)
            most, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
            if count > 1:
                chosen = next(one for one in self._connections if one.identity == most)
        if chosen is None:
            return False
        self._drop(chosen)
        return True


async def _first_byte(accepted: socket.socket) -> None:
    """Wait for it: a connection that says nothing is not worth the buffers of TLS. The socket is closed when this is
    given up.

    Raises:
        OSError: the connection ended, or nothing came within the time for a hand-shake.
    """
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(accepted, came.set)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await came.wait()
        if not accepted.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError
    except BaseException:
        loop.remove_reader(accepted)
        accepted.close()
        raise
    loop.remove_reader(accepted)
