"""An HTTP/2 client without manners: opens streams in plaintext and resets them at once (RFC 9113, RFC 7541)."""

from __future__ import annotations

import asyncio
import contextlib

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RST_STREAM, _SETTINGS = 1, 3, 4
_END_OF_STREAM_AND_HEADERS = 5
_CANCEL = (8).to_bytes(4)
_GET, _HTTP = b"\x82", b"\x86"
"""Indexed fields of the static table: ``:method: GET`` and ``:scheme: http``."""


async def reset_streams(port: int, host: str, path: str, count: int, pause: float = 0.002) -> int:
    """Open and reset `count` streams on loopback, on a new connection whenever the server closes one, with `pause`
    seconds after each. The number of connections it took."""
    connections = 0
    while count > 0:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connections += 1
        closing = asyncio.create_task(_drained(reader))
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0))
        stream = 1
        with contextlib.suppress(OSError):
            while count > 0 and not closing.done():
                writer.write(_request(stream, host, path))
                await writer.drain()
                await asyncio.sleep(pause)
                writer.write(_frame(_RST_STREAM, 0, stream, _CANCEL))
                stream, count = stream + 2, count - 1
        closing.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return connections


async def ask_with(port: int, host: str, path: str, name: str, value: bytes) -> bytes:
    """One request on loopback with a header of any bytes; what comes back until there is something of its stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = _GET + _HTTP + _literal(b":path", path) + _literal(b":authority", host)
    fields += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0) + _frame(_HEADERS, _END_OF_STREAM_AND_HEADERS, 1, fields))
    answer = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(10):
            while b"\0\0\0\1" not in answer and (data := await reader.read(1 << 16)):
                answer += data
    writer.close()
    return answer


async def _drained(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


def _request(stream: int, host: str, path: str) -> bytes:
    fields = _GET + _HTTP + _literal(b":path", path) + _literal(b":authority", host)
    return _frame(_HEADERS, _END_OF_STREAM_AND_HEADERS, stream, fields)


def _literal(name: bytes, value: str) -> bytes:
    """A field that is not indexed; both texts are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
