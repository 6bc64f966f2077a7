"""A service manager that listens, as systemd does."""

from __future__ import annotations

import socket
from pathlib import Path


class Manager:
    """Remembers what it was told."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.lines: list[str] = []

    def told(self, line: str) -> int:
        while True:
            try:
                self.lines += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.lines.count(line)

    def close(self) -> None:
        self._socket.close()
