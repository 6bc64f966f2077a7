"""Signals of the agent: stop in order, stop faster, restart without stopping, pass on to the application."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from weft.processes.signals import hold_signals, release_signals

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Held back until they are handled: one that comes while the agent gets ready must not kill it half-way, because what
an earlier agent has left would then run on."""


class Signals:
    """What has been asked for.

    SIGINT and SIGTERM stop, a second one hurries; SIGHUP restarts the agent, or stops when its terminal was closed.
    `first` is the number of the signal that asked to stop, 0 when none did.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.restart = asyncio.Event()
        self.first = 0
        self._had_terminal = _has_terminal()

    @contextlib.contextmanager
    def handled(self, forward: Callable[[int], None]) -> Iterator[None]:
        """Handle signals meanwhile; SIGUSR1 and SIGUSR2 go to `forward`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, forward, number)
        release_signals(HANDLED)
        try:
            yield
        finally:
            if self.restart.is_set() and not self.stop.is_set():
                # Whatever comes now is kept for the agent that takes our place.
                hold_signals(HANDLED)
            for number in HANDLED:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if self.stop.is_set():
            self.hurry.set()
        else:
            self.first = number
            self.stop.set()

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._stop(signal.SIGHUP)
        else:
            self.restart.set()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
