"""An HTTP server with bounds: connections, silence before the first request, hand-shake time, header sizes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from weft.admin.replies import Handler, errors_as_json

HANDSHAKE_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75.0
STOP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`connections` at once; `silence` seconds a new connection may take until its first request has its headers."""

    connections: int = 1024
    silence: float = 20.0


class _Connection(web.RequestHandler):
    """One connection that knows whether a request ever came."""

    heard = False


class _Refusing(asyncio.Protocol):
    """What a connection over the limit gets: its end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def new_application(*middlewares: Middleware, body_limit: int) -> web.Application:
    """An application that answers errors in JSON and takes bodies up to `body_limit` bytes."""
    return web.Application(middlewares=[_heard, errors_as_json, *middlewares], client_max_size=body_limit)


@contextlib.asynccontextmanager
async def serving(
    application: web.Application,
    listener: socket.socket,
    tls: ssl.SSLContext | None = None,
    limits: ServerLimits = ServerLimits(),
) -> AsyncIterator[None]:
    """Serve on a bound socket while the context is open; requests under way get a moment at the end."""
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("aiohttp made no server")

    def accept() -> asyncio.Protocol:
        if len(server.connections) >= limits.connections:
            return _Refusing()
        connection = _Connection(server, loop=loop, keepalive_timeout=KEEP_ALIVE_SECONDS, lingering_time=1.0)
        loop.call_later(limits.silence, _drop_if_silent, connection)
        return connection

    if listener.family == socket.AF_UNIX:
        accepting: asyncio.Server = await loop.create_unix_server(accept, sock=listener)
    else:
        handshake = HANDSHAKE_SECONDS if tls else None
        accepting = await loop.create_server(accept, sock=listener, ssl=tls, ssl_handshake_timeout=handshake)
    try:
        yield
    finally:
        accepting.close()
        await runner.cleanup()


def _drop_if_silent(connection: _Connection) -> None:
    if not connection.heard and connection.transport is not None:
        connection.transport.abort()


@web.middleware
async def _heard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if isinstance(request.protocol, _Connection):
        request.protocol.heard = True
    return await handler(request)
