"""A holder that stays the application's parent: where a process may look into its descendants only (Yama, scope 1).

Who started it sees the holder in the application's place. So it stops, goes on and ends as the application does, and
hands over to a successor what is left under the filter then.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable

from weft.agent.seccomp.holder import Holder

_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2)
_OF_THE_GROUP = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""Sent to the whole group: the application gets them itself."""


def needs_parent() -> bool:
    """Whether this system lets a process look into its descendants only."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", "rb") as file:  # noqa: PTH123 - does without pathlib
            return file.read().strip() == b"1"
    except OSError:
        return False


def run_as_parent(become: Callable[[socket.socket], None], make: Callable[[socket.socket], Holder]) -> None:
    """`become` the application in a child, and serve it with the holder that `make` makes. Both are given an end of
    their channel. Does not return before the last process has ended; this one ends with the application."""
    ours, its = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        become(its)
    its.close()
    for number in _OF_THE_GROUP:
        signal.signal(number, signal.SIG_IGN)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: os.kill(child, number))
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes the holder, which looks
    try:
        holder = make(ours)
    except (OSError, ValueError):  # the child has ended, and has said why
        _end_like(os.waitpid(child, 0)[1])
        return
    _look(child)
    holder.serve({reading: lambda: _woken(reading, child)})
    with contextlib.suppress(ChildProcessError):  # a successor has none
        _end_like(os.waitpid(child, 0)[1])


def _woken(reading: int, child: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(reading, 4096)
    _look(child)


def _look(child: int) -> None:
    """What has become of the application: if it has stopped or ended, so does this process."""
    try:
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
    except ChildProcessError:
        return
    if not found:
        return
    if os.WIFSTOPPED(status):
        _stop_like(os.WSTOPSIG(status))
    elif not _is_successor():
        _end_like(status)


def _stop_like(number: int) -> None:
    if number != signal.SIGSTOP:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    if number != signal.SIGSTOP:
        signal.signal(number, signal.SIG_IGN)


def _is_successor() -> bool:
    """Split: the new process, outside of the group, which its starter clears, goes on with what is left."""
    reading, writing = os.pipe()
    if not os.fork():
        os.setsid()
        os.close(writing)
        os.close(reading)
        return True
    os.close(writing)
    os.read(reading, 1)  # until it has left
    return False


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
