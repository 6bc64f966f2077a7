"""Whose a listener on loopback is, by the kernel's own account (sock_diag(7)): a port says nothing of who has it."""

from __future__ import annotations

import os
import socket
import struct

_SOCK_DIAG = 4
_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2
_LISTENING = 1 << 10
_ANY_COOKIE = b"\xff" * 8
_UID = 16 + 4 + 48 + 12
"""Where the user is in an answer: behind the header, the state, the identity of the socket and three numbers."""


class Listeners:
    """Asks the kernel. Where it does not answer, `owned` says yes: a port is all there is then."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        try:
            channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
            with socket.create_server(("127.0.0.1", 0)) as known:
                if owner(channel, "127.0.0.1", known.getsockname()[1]) == os.geteuid():
                    self._channel = channel
        except OSError:
            return

    def owned(self, host: str, port: int) -> bool:
        """Whether the one at `port` of `host` is of our user."""
        return self._channel is None or owner(self._channel, host.removeprefix("::ffff:"), port) == os.geteuid()


def owner(channel: socket.socket, host: str, port: int) -> int:
    """The user who listens there, asked by `channel` (sock_diag); -1 if nobody does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = struct.pack("!HH", port, 0) + socket.inet_pton(family, host).ljust(16, b"\0")
    asked = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _LISTENING) + place + b"\0" * 20 + _ANY_COOKIE
    channel.send(struct.pack("=IHHII", 16 + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
    answer = channel.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
        return -1
    return int(struct.unpack_from("=I", answer, _UID)[0])
