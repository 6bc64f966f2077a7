"""A service manager that listens, as systemd does."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Manager:
    """Remembers what it was told. It reads all the time: a socket holds ten messages, and what is more is lost."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.lines: list[str] = []
        self._reading, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def told(self, line: str) -> int:
        """How often it was told this line."""
        self._read()
        return self.lines.count(line)

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.wait(0.02):
            self._read()

    def _read(self) -> None:
        with self._reading, contextlib.suppress(BlockingIOError):
            while True:
                self.lines += self._socket.recv(4096).decode().splitlines()
