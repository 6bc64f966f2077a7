"""An HTTP server with bounds: connections, silence before the first request, hand-shake time, header sizes.

When it is full, the oldest connection that is not authenticated makes room, so that strangers who hold connections
keep nobody else out for longer than they take to reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from weft.admin.replies import Handler, errors_as_json

HANDSHAKE_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75.0
STOP_SECONDS = 0.5
_BACKLOG = 512
_SHORTAGE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`connections` at once; `silence` seconds a new connection may take until its first request has its headers."""

    connections: int = 1024
    silence: float = 20.0


def mark_authenticated(request: web.Request) -> None:
    """The sender of `request` has proven who it is: its connection is not closed to make room for others."""
    if isinstance(request.protocol, _Connection):
        request.protocol.authenticated = True


class _Connection(web.RequestHandler):
    """One connection that knows whether a request ever came, and whether its sender is authenticated."""

    has_requested = False
    authenticated = False
    ended: Callable[[], None] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        if self.ended is not None:
            self.ended()

    def log_exception(self, *args: object, **named: object) -> None:
        """Faults of ours are logged. What strangers send that is not HTTP is their fault, and there is no end to it."""
        if not isinstance(named.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **named)


def new_application(*middlewares: Middleware, body_limit: int) -> web.Application:
    """An application that answers errors in JSON and takes bodies up to `body_limit` bytes."""
    return web.Application(middlewares=[_note_request, errors_as_json, *middlewares], client_max_size=body_limit)


@contextlib.asynccontextmanager
async def serving(
    application: web.Application,
    listener: socket.socket,
    tls: ssl.SSLContext | None = None,
    limits: ServerLimits = ServerLimits(),
) -> AsyncIterator[None]:
    """Serve on a bound socket while the context is open; requests under way get a moment at the end."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("aiohttp made no server")
    acceptor = _Acceptor(server, tls, limits)
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
        await runner.cleanup()


class _Acceptor:
    """Accepts connections, each with a task until its hand-shake is done; oldest first."""

    def __init__(self, server: web.Server, tls: ssl.SSLContext | None, limits: ServerLimits) -> None:
        self._server = server
        self._tls = tls
        self._limits = limits
        self._connections: dict[_Connection, asyncio.Task[None]] = {}

    async def accept(self, listener: socket.socket) -> None:
        """Accept for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError:  # the client is gone again, or there is no file left for it
                self._make_room()
                await asyncio.sleep(_SHORTAGE_SECONDS)
                continue
            if len(self._connections) < self._limits.connections or self._make_room():
                connection = _Connection(
                    self._server, loop=loop, keepalive_timeout=KEEP_ALIVE_SECONDS, lingering_time=1.0
                )
                self._connections[connection] = asyncio.create_task(self._open(connection, accepted))
            else:
                accepted.close()
            await asyncio.sleep(0)  # others get their turn, however many connections come in

    async def close(self) -> None:
        """Give up hand-shakes under way."""
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, connection: _Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.ended = lambda: self._forget(connection)
        handshake = HANDSHAKE_SECONDS if self._tls else None
        try:
            await loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except OSError:  # also a hand-shake that fails or takes too long; the transport has closed the socket
            self._forget(connection)
        except BaseException:
            self._forget(connection)
            raise
        else:
            loop.call_later(self._limits.silence, _drop_if_silent, connection)

    def _forget(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)

    def _make_room(self) -> bool:
        """Close the oldest connection that is not authenticated; whether there was one."""
        stranger = next((one for one in self._connections if not one.authenticated), None)
        if stranger is None:
            return False
        self._connections.pop(stranger).cancel()
        if stranger.transport is not None:
            stranger.transport.abort()
        return True


def _drop_if_silent(connection: _Connection) -> None:
    if not connection.has_requested and connection.transport is not None:
        connection.transport.abort()


@web.middleware
async def _note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    if isinstance(request.protocol, _Connection):
        request.protocol.has_requested = True
    return await handler(request)
