"""Addresses as the system has them, and the header that tells a proxy of one (PROXY protocol, version 2). Pure."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from weft.model.capture import SECRET_TYPE

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_MAPPED = b"\0" * 10 + b"\xff\xff"
_LOOPBACK_4, _LOOPBACK_6 = b"\x7f\0\0\1", b"\0" * 15 + b"\1"
_ANY_6 = b"\0" * 16
_SHORTEST_4, _SHORTEST_6 = 16, 24


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call wants to: `address` has four bytes or sixteen. `family` is that of the call's structure: an IPv4
    address may come in one of IPv6 (``::ffff:…``)."""

    family: int
    address: bytes
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this host itself, whatever its addresses are."""
        if len(self.address) == 4:
            return self.address[0] == 127 or self.address == b"\0" * 4
        return self.address in (_LOOPBACK_6, _ANY_6)

    def here(self, port: int, family: int, *, ipv6: bool) -> tuple[str, int]:
        """`port` of loopback, to which a socket of `family` that wants there can be led; `ipv6`: the host has ::1."""
        if family == socket.AF_INET:
            return "127.0.0.1", port
        return ("::1" if ipv6 and len(self.address) == 16 else "::ffff:127.0.0.1"), port


def destination(raw: bytes) -> Destination | None:
    """What a ``sockaddr`` says, if it is a whole one of IPv4 or IPv6."""
    family = int.from_bytes(raw[:2], "little") if len(raw) >= 2 else 0
    if family == socket.AF_INET and len(raw) >= _SHORTEST_4:
        return Destination(family, raw[4:8], int.from_bytes(raw[2:4], "big"))
    if family == socket.AF_INET6 and len(raw) >= _SHORTEST_6:
        address = raw[8:24]
        plain = address[12:] if address[:12] == _MAPPED else address
        return Destination(family, plain, int.from_bytes(raw[2:4], "big"))
    return None


def packed_address(family: int, where: tuple[str | int, ...]) -> bytes:
    """A ``sockaddr`` of what Python calls `where`."""
    host, port = str(where[0]), int(where[1])
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_pton(family, host) + b"\0" * 8
    flow, scope = (int(where[2]), int(where[3])) if len(where) == 4 else (0, 0)
    head = struct.pack("=H", family) + struct.pack("!HI", port, flow)
    return head + socket.inet_pton(family, host.partition("%")[0]) + struct.pack("=I", scope)


def proxy_header(where: Destination, port: int, secret: bytes) -> bytes:
    """The header of a connection from our `port` to `where`, by one who knows `secret`."""
    four = len(where.address) == 4
    source = _LOOPBACK_4 if four else _LOOPBACK_6
    field = struct.pack("!BH", SECRET_TYPE, len(secret)) + secret
    body = source + where.address + struct.pack("!HH", port, where.port) + field
    return _SIGNATURE + struct.pack("!BBH", 0x21, 0x11 if four else 0x21, len(body)) + body
