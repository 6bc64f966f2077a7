"""Job control for one process that shares our terminal: it gets the terminal when it asks for it, and we with it stop.

The process runs in a process group of its own, in the background of our session: Ctrl-C reaches us. The kernel stops it
when it reads from the terminal or sets it (SIGTTIN, SIGTTOU); then it is put in the foreground and goes on, and Ctrl-C
is its own. Ctrl-Z stops both, as the shell expects. See "Implementing a Job Control Shell" in the manual of glibc.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator

from weft.processes.signals import signals_held
from weft.processes.watch import ProcessWatch

_AGAIN = 1.0
_WANTS_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_Settings = list[int | list[bytes | int]]


def has_terminal() -> bool:
    """Whether standard input is this session's terminal, which we have or may get, and a child that stops can be
    noticed."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty() or not hasattr(os, "waitid"):
        return False
    try:
        front = os.tcgetpgrp(sys.stdin.fileno())
        return front == os.getpgrp() or os.getsid(os.getppid()) == os.getsid(0)  # else no shell brings us to the front
    except OSError:
        return False


class Terminal:
    """Shares the terminal with the process of `watch`, if that is of our session. Use `shared` while it runs.

    `given`: whether the process has asked for the terminal and got it.
    """

    def __init__(self, watch: ProcessWatch) -> None:
        self.given = False
        self._watch = watch
        self._descriptor = sys.stdin.fileno() if has_terminal() else -1
        self._settings = termios.tcgetattr(self._descriptor) if self._descriptor >= 0 else None
        self._its_settings: _Settings | None = None

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hand the terminal over and back, meanwhile; afterwards it is ours and as it was."""
        if self._descriptor < 0 or not self._same_session():
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._look)
        loop.add_signal_handler(signal.SIGTSTP, self._stop_both)
        self._look()
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)
            loop.remove_signal_handler(signal.SIGTSTP)
            self._take_back()

    def _same_session(self) -> bool:
        try:
            return os.getsid(self._watch.name.pid) == os.getsid(0)
        except ProcessLookupError:
            return False

    def _look(self) -> None:
        """Something has happened to a child: has ours been stopped?"""
        number = self._watch.stopped_by()
        if number in _WANTS_TERMINAL:
            self._give()
        elif number and self._foreground() == self._watch.name.pid:
            self._take_back()
            self._stop_ourselves()
            self._give()

    def _give(self) -> None:
        """Put it in the foreground if that is ours to give, else wait with it until it is."""
        if self._foreground() not in (os.getpgrp(), self._watch.name.pid):
            self._stop_ourselves()
        if self._foreground() == os.getpgrp():
            self.given = True
            self._set_foreground(self._watch.name.pid)
            self._set(self._its_settings)
        if self._foreground() == self._watch.name.pid:
            self._watch.send_group(signal.SIGCONT)
        else:  # continued in the background, or the shell is gone: it may read again, and stop again
            asyncio.get_running_loop().call_later(_AGAIN, self._watch.send_group, signal.SIGCONT)

    def _take_back(self) -> None:
        if self.given and self._foreground() != os.getpgrp():
            self._set_foreground(os.getpgrp())
            with contextlib.suppress(termios.error):
                self._its_settings = termios.tcgetattr(self._descriptor)
            self._set(self._settings)

    def _stop_both(self) -> None:
        """Ctrl-Z while the terminal is ours."""
        self._watch.send_group(signal.SIGTSTP)
        self._stop_ourselves()
        self._watch.send_group(signal.SIGCONT)

    def _stop_ourselves(self) -> None:
        """Returns when somebody continues us; at once where nobody could (an orphaned group is not stopped)."""
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._stop_both)

    def _set(self, settings: _Settings | None) -> None:
        if settings is not None:
            with signals_held((signal.SIGTTOU,)), contextlib.suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, settings)

    def _foreground(self) -> int:
        try:
            return os.tcgetpgrp(self._descriptor)
        except OSError:  # the terminal is gone
            return -1

    def _set_foreground(self, group: int) -> None:
        with signals_held((signal.SIGTTOU,)), contextlib.suppress(OSError):
            os.tcsetpgrp(self._descriptor, group)
