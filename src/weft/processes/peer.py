"""Who is at the other end of a unix socket, as the kernel says."""

from __future__ import annotations

import socket
import struct

_LOCAL_PEERCRED = 1
"""macOS: level 0 (SOL_LOCAL), option LOCAL_PEERCRED gives struct xucred: version, uid, ..."""


def peer_of(connection: socket.socket | None) -> tuple[int, int]:
    """The user and the process at the other end (-1: not known)."""
    if connection is None:
        return -1, -1
    if hasattr(socket, "SO_PEERCRED"):
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", data)
        return int(uid), int(pid)
    data = connection.getsockopt(0, _LOCAL_PEERCRED, 76)
    return int(struct.unpack_from("II", data)[1]), -1
