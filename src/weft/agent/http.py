"""A small HTTP/1.1 client, over a unix socket, TCP or TLS: one request per connection, or one after the other on a kept
one.

The agent asks three kinds of server a few small things. A full HTTP library would be most of its start-up time, which
every workload of a machine pays (ADR 0013).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.processes.namespaces import NamespaceError, inside

_MAX_HEAD = 64 * 1024
_MAX_BODY = 8 * 1024 * 1024


class HttpError(Exception):
    """The answer is not HTTP, or larger than we want. A failure of the connection itself is an OSError."""


class ConnectTimeoutError(TimeoutError):
    """Time was over before there was a connection."""


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask: a unix socket (`path`), or `host` and `port`, with TLS if there is a context.

    `name` is what the server's certificate must carry. With `namespace` the server is in the network namespace of which
    that is the file.
    """

    path: Path | None = None
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    name: str = "localhost"
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body, whether the connection may have another request, and the headers by names in lower case."""

    status: int
    body: bytes
    keeps: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


async def ask(
    server: Server,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float,
    head_only: bool = False,
) -> Answer:
    """One request; with `head_only` the answer's body is not waited for. Raises TimeoutError after `timeout` seconds
    (ConnectTimeoutError: not even connected), OSError, or HttpError."""
    connected = False
    request = _request(server, method, path, body, {"Connection": "close", **(headers or {})})
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(server)
            connected = True
            try:
                return await _exchange(reader, writer, request, head_only=head_only)
            finally:
                await _close(server, writer)
    except TimeoutError as error:
        if connected:
            raise
        raise ConnectTimeoutError from error


class KeptConnection:
    """Requests one after the other on one connection, for as long as the server keeps it. They must be such that one
    which came twice does no harm: where a kept connection turns out to be closed, the request goes over a new one."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, server: Server, method: str, path: str, *, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        """As the function `ask`. A connection to another `server`, or with another TLS context, is not used again."""
        if server != self._server:
            await self.close()
        request = _request(server, method, path, body, headers)
        async with asyncio.timeout(timeout):
            if self._streams is not None:
                with contextlib.suppress(OSError, HttpError):
                    return await self._ask(self._streams, request)
                await self.close()
            self._server, self._streams = server, await _connect(server)
            return await self._ask(self._streams, request)

    async def _ask(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Answer:
        keeps = False
        try:
            answer = await _exchange(*streams, request)
            keeps = answer.keeps
            return answer
        finally:
            if not keeps:
                await self.close()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        streams, server = self._streams, self._server
        self._streams = self._server = None
        if streams is not None and server is not None:
            await _close(server, streams[1])


def _request(server: Server, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = headers if "host" in {name.lower() for name in headers} else {"Host": server.name, **headers}
    lines = [f"{method} {path} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, *, head_only: bool = False
) -> Answer:
    try:
        writer.write(request)
        await writer.drain()
        return await _answer(reader, head_only=head_only)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise HttpError("the answer is cut short or is not HTTP") from error


async def _close(server: Server, writer: asyncio.StreamWriter) -> None:
    if server.tls is not None:
        writer.transport.abort()  # everything has been said; do not wait for the peer's goodbye
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if server.path is not None:
        return await asyncio.open_unix_connection(str(server.path), limit=_MAX_HEAD)
    name = server.name if server.tls is not None else None
    more: dict[str, Any] = {"ssl": server.tls, "server_hostname": name, "limit": _MAX_HEAD}
    if server.namespace:
        connected = await connected_inside(server.namespace, server.host, server.port)
        return await asyncio.open_connection(sock=connected, **more)
    return await asyncio.open_connection(server.host, server.port, **more)


async def connected_inside(namespace: str, host: str, port: int) -> socket.socket:
    """A connection to an IP address within the network namespace whose file `namespace` is. OSError when there is none,
    or no such namespace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = await asyncio.to_thread(inside, namespace, lambda: socket.socket(family, socket.SOCK_STREAM))
    except NamespaceError as error:
        raise OSError(f"{namespace} {error}") from error
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    return made


async def _answer(reader: asyncio.StreamReader, *, head_only: bool) -> Answer:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = head[0].partition(" ")
        if not version.startswith("HTTP/1."):
            raise HttpError("the answer is not HTTP/1")
        status = int(rest[:3])
        if status >= 200:
            break
    fields = [line.partition(":") for line in head[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    keeps = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    if head_only:
        return Answer(status, b"", headers=headers)
    if status in (204, 304):
        return Answer(status, b"", keeps, headers)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, await _chunks(reader), keeps, headers)
    if "content-length" in headers:
        return Answer(status, await reader.readexactly(_bounded(int(headers["content-length"]))), keeps, headers)
    body = await reader.read(_MAX_BODY + 1)
    while not reader.at_eof():
        body += await reader.read(_MAX_BODY)
        _bounded(len(body))
    return Answer(status, body, headers=headers)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            return bytes(body)
        _bounded(len(body) + size)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


def _bounded(size: int) -> int:
    if not 0 <= size <= _MAX_BODY:
        raise HttpError(f"the answer is larger than {_MAX_BODY} bytes")
    return size
