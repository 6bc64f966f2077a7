"""What a service tells systemd of itself: ready, reloading, stopping, still alive; see sd_notify(3).

Without a manager that listens (`NOTIFY_SOCKET`) nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""They mean this process and no other: what it starts shall not have them."""
_LONGEST = 3600.0


class Notifier:
    """Speaks for this process. `period` are the seconds between two signs of life that are asked for; 0: none are."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.period = _period(environment)

    def ready(self, status: str) -> None:
        """It serves, for the first time or after reloading."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """It starts anew, in the same process."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It has begun to stop."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(_status(text))

    async def run(self) -> None:
        """Give signs of life for as long as the event loop turns; returns at once if none are asked for."""
        while self.period:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.period)

    def _send(self, *lines: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)  # a manager that does not read must not hold us up
            manager.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"


def _period(environment: Mapping[str, str]) -> float:
    """A third of what the manager waits for, if it is this process that it waits for."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0) / 3, _LONGEST)
