"""A port on this host's loopback that leads through the door of a cluster, for a browser."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from weft.local.cluster import ClusterError
from weft.local.door import Door

_LOOPBACK = "127.0.0.1"
_PIECE = 64 * 1024
_AT_ONCE = 32
_TIMEOUT = 30.0
_SILENCE = 300.0
"""Seconds. The page's own stream says something every fifteen."""


class Relay:
    """Leads each connection to its port (0: any free one) through a tunnel of its own. Everything ends with it.

    Whoever is on this host reaches that port, so nothing that proves who the user is goes with it: the browser has its
    session."""

    def __init__(self, door: Door, port: int = 0) -> None:
        self._door = door
        self._listener = socket.create_server((_LOOPBACK, port))
        self._open: set[socket.socket] = set()
        self.address = f"{_LOOPBACK}:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Lead connections until interrupted, or closed."""
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                if len(self._open) >= _AT_ONCE:
                    accepted.close()
                    continue
                self._open.add(accepted)
                threading.Thread(target=self._lead, args=(accepted,), name="weft-relay", daemon=True).start()

    def close(self) -> None:
        """End the port and all connections."""
        self._listener.close()
        for one in tuple(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _lead(self, near: socket.socket) -> None:
        try:
            with near, self._door.unproven(_TIMEOUT) as far:
                near.settimeout(_TIMEOUT)
                with contextlib.suppress(OSError, ssl.SSLError):
                    _both_ways(near, far)
        except (ClusterError, OSError):
            pass  # the browser sees that the connection has ended, and tries again
        finally:
            self._open.discard(near)


def _both_ways(near: socket.socket, far: ssl.SSLSocket) -> None:
    """Until one of the two ends, or nothing was said for long. In one thread: a TLS connection is not for two."""
    while True:
        readable = [far] if far.pending() else select.select([near, far], [], [], _SILENCE)[0]
        if not readable:
            return
        for one in readable:
            piece = one.recv(_PIECE)
            if not piece:
                return
            (far if one is near else near).sendall(piece)
