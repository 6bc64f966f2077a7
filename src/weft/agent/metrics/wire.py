"""Protobuf's wire format, as much of it as metrics need: https://protobuf.dev/programming-guides/encoding/."""

from __future__ import annotations

import struct


def text(field: int, value: str) -> bytes:
    """A string field."""
    return message(field, value.encode())


def message(field: int, body: bytes) -> bytes:
    """A field of bytes: an embedded message, or packed numbers."""
    return varint(field << 3 | 2) + varint(len(body)) + body


def integer(field: int, value: int) -> bytes:
    """A field with a whole number."""
    return varint(field << 3) + varint(value)


def fixed64(field: int, value: int) -> bytes:
    """A field with a 64-bit number of fixed length."""
    return varint(field << 3 | 1) + struct.pack("<Q", value)


def double(field: int, value: float) -> bytes:
    """A field with a 64-bit floating point number."""
    return varint(field << 3 | 1) + struct.pack("<d", value)


def zigzag(value: int) -> int:
    """A signed number as sint32 and sint64 carry it."""
    return (value << 1) ^ (value >> 63)


def varint(value: int) -> bytes:
    """A number in base 128."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
