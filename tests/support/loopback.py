"""Servers and connections on loopback that send exactly what a test says, and hide nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Response:
    """One HTTP/1 response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection:
    """One TCP (or TLS) connection that speaks HTTP/1 as it is told."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, name: str | None = None) -> None:
        self._port = port
        self._context = context
        self._name = name

    async def __aenter__(self) -> Connection:
        host = self._name or ("localhost" if self._context else None)
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname=host
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    async def request(self, target: str, host: str, *headers: str, method: str = "GET", body: bytes = b"") -> Response:
        """Send one request with the target and header lines as they are, and read the answer."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await asyncio.wait_for(self._response(method), 15)

    async def _response(self, method: str) -> Response:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(head[0].split()[1])
        headers = _headers(head[1:])
        if (method in ("HEAD", "CONNECT") and status < 300) or status in (101, 204, 304):
            return Response(status, headers, b"")
        return Response(status, headers, await read_body(self.reader, headers))


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """A message's body, by its length or its chunks."""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(headers.get("content-length", "0")))


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
    return headers


@dataclass
class EchoServer:
    """An HTTP/1 application that answers with what it got as JSON, and counts.

    It answers `status` after `delay` seconds. An upgrade is answered with 101, and bytes come back after it.
    """

    name: str
    port: int = 0
    status: int = 200
    delay: float = 0.0
    requests: int = 0
    connections: int = 0
    seen: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        while await self._answer(reader, writer):
            pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = _headers(head[1:])
        self.requests += 1
        self.seen.append(f"{method} {target}")
        if headers.get("upgrade"):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while data := await reader.read(1024):
                writer.write(data)
            return False
        body = await read_body(reader, headers)
        await asyncio.sleep(self.delay)
        answer = json.dumps(
            {"app": self.name, "method": method, "path": target, "headers": headers, "length": len(body)}
        ).encode()
        writer.write(
            f"HTTP/1.1 {self.status} Status\r\nContent-Length: {len(answer)}\r\nx-app: {self.name}\r\n\r\n".encode()
        )
        writer.write(answer)
        await writer.drain()
        return True


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def tcp_server(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port, which it gives. At the end no connection is left open."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def echo_server(name: str, **settings: Any) -> AsyncIterator[EchoServer]:
    """An EchoServer on a free port."""
    application = EchoServer(name, **settings)
    async with tcp_server(application.serve) as application.port:
        yield application


@contextlib.asynccontextmanager
async def greeting_server(greeting: bytes) -> AsyncIterator[int]:
    """A TCP server that speaks first and then echoes, as databases' protocols do. Gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while data := await reader.read(1024):
            writer.write(data)

    async with tcp_server(serve) as port:
        yield port
