"""Signals held back: one that comes before somebody handles it must not end a process half-way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator


def hold_signals(numbers: Iterable[signal.Signals]) -> None:
    """Keep signals back until they are released."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def release_signals(numbers: Iterable[signal.Signals]) -> None:
    """Let signals act again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextlib.contextmanager
def signals_held(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Keep signals back, but for the time in which they are handled; afterwards they act as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
