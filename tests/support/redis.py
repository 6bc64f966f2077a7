"""A real Redis on loopback, on a port that stays the same when it is killed and started again."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

from support.envoy import free_port
from weft.testing.polling import until

PASSWORD = "secret-of-counts"


class Redis:
    """Keeps nothing on disk. `url` says where it is, with its password."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        words += ["--requirepass", PASSWORD, "--dir", str(self._directory)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until("redis listens", self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """End it at once, with all that it counted."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
