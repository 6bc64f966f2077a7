"""What a caller of ``recvfrom`` and ``recvmsg`` wants filled in, in its own memory."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from weft.agent.seccomp.addresses import packed_address
from weft.agent.seccomp.system import Notification, read_memory, write_memory

_HEADER = struct.Struct("=QI4xQQQQi4x")
"""``struct msghdr``: name, its length, slices, how many, control, its length, flags."""
_NAME_LENGTH, _CONTROL_LENGTH, _FLAGS = 8, 40, 48
"""Where they are in it."""
_SLICE = struct.Struct("=QQ")
_MOST_SLICES = 64
_MOST = 65535


@dataclass(frozen=True, slots=True)
class Received:
    """`slices` (address and length) take the data, `name` the sender's address of at most `name_room` bytes, and
    `lengths` are where zeros or lengths are written: of the name, then of others."""

    slices: tuple[tuple[int, int], ...]
    flags: int
    name: int
    name_room: int
    name_length: int
    zeros: tuple[tuple[int, int], ...] = ()

    @property
    def room(self) -> int:
        """How many bytes of data it takes."""
        return min(_MOST, sum(length for _, length in self.slices))


def asked_receive(call: Notification) -> Received | None:
    """``recvfrom(fd, data, size, flags, name, &length)``."""
    _, data, size, flags, name, length = call.arguments
    if not length:
        return None
    (room,) = struct.unpack("=i", read_memory(call.thread, length, 4))
    if room < 0:
        return None
    return Received(((data, size),), flags & 0x7FFFFFFF, name, room, length)


def asked_message(call: Notification) -> Received | None:
    """``recvmsg(fd, &message, flags)``; None if it does not ask for the sender."""
    _, message, flags, *_ = call.arguments
    name, room, slices, count, _, _, _ = _HEADER.unpack(read_memory(call.thread, message, _HEADER.size))
    if not name or not 0 < count <= _MOST_SLICES:
        return None
    raw = read_memory(call.thread, slices, count * _SLICE.size)
    zeros = ((message + _CONTROL_LENGTH, 8), (message + _FLAGS, 4))
    return Received(tuple(_SLICE.iter_unpack(raw)), flags & 0x7FFFFFFF, name, room, message + _NAME_LENGTH, zeros)


def deliver(
    thread: int, wanted: Received, data: bytes, sender: bytes | None, family: int, where: tuple[str | int, ...]
) -> None:
    """Fill in `data` and its `sender` (None: it is `where`)."""
    rest = data
    for address, length in wanted.slices:
        write_memory(thread, address, rest[:length])
        rest = rest[length:]
    told = sender if sender is not None else packed_address(socket.AddressFamily(family), where)
    write_memory(thread, wanted.name, told[: wanted.name_room])
    write_memory(thread, wanted.name_length, struct.pack("=I", len(told)))
    for address, length in wanted.zeros:
        write_memory(thread, address, b"\0" * length)
