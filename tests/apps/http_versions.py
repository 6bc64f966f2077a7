"""A server for tests that answers every request with its name, over HTTP/1.1 or, if the client begins so, HTTP/2.

Listens on WEFT_HOST:PORT from the environment; WORKLOAD is its name in answers.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

NAME = os.environ.get("WORKLOAD", "echo").encode()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
ACK = END_STREAM = 1
END_HEADERS = 4
LENGTH = str(len(NAME)).encode()
OK = b"\x88\x0f\x0d" + bytes([len(LENGTH)]) + LENGTH
"""``:status: 200`` and the content's length, by the static table (RFC 7541)."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


async def http1(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests without a body, one after the other."""
    while True:
        head += await reader.readuntil(b"\r\n\r\n")
        last = b"connection: close" in head.lower()
        closing = b"Connection: close\r\n" if last else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (closing, len(NAME), NAME))
        await writer.drain()
        if last:
            return
        head = b""


async def http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Any number of streams. What requests say is not read."""
    await reader.readexactly(len(PREFACE) - 3)
    writer.write(frame(SETTINGS, 0, 0))
    while True:
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        if kind in (SETTINGS, PING) and not flags & ACK:
            writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (HEADERS, DATA) and flags & END_STREAM:
            writer.write(frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, END_STREAM, stream, NAME))
        await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readexactly(3)
        await (http2(reader, writer) if head == PREFACE[:3] else http1(head, reader, writer))
    writer.close()


async def main() -> None:
    """Serve for ever."""
    server = await asyncio.start_server(serve, os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
