"""Signals of the agent: stop in order, stop faster, restart without stopping, pass on to the application."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def hold_signals() -> None:
    """Keep signals back until they are handled: one that comes while the agent gets ready must not kill it half-way,
    because what an earlier agent has left would then run on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


@contextlib.contextmanager
def signals_held(numbers: Iterable[signal.Signals] = HANDLED) -> Iterator[None]:
    """Keep signals back, but for the time in which they are handled; afterwards they act as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release_signals() -> None:
    """Let signals act again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


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
        release_signals()
        try:
            yield
        finally:
            if self.restart.is_set() and not self.stop.is_set():
                # Whatever comes now is kept for the agent that takes our place.
                hold_signals()
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
