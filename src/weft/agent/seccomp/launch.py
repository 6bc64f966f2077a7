"""The launcher: starts a holder, puts itself under the filter and becomes the application.

Its words are PROXY DNS SECRET LOG COMMAND…, of which SECRET and LOG are files.

Started without weft's packages (see `launching`), so that holder and launcher are small and begin at once.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys

from weft.agent.seccomp.becoming import CANNOT, execute, give_up, own_environment
from weft.agent.seccomp.holder import Holder, Settings
from weft.agent.seccomp.parent import needs_parent, run_as_parent
from weft.agent.seccomp.program import filter_program
from weft.agent.seccomp.system import MACHINES, end_with_parent, install_filter
from weft.agent.seccomp.trial import run_trial

_CHANNEL = 3


def main(words: list[str]) -> None:
    """Of the launcher, of the holder that it starts (``hold``), and of a trial (``try``). ``parent``: the holder stays
    the application's parent, as it has to where Yama's scope is 1."""
    match words[0]:
        case "hold":
            _make_holder(socket.socket(fileno=_CHANNEL), words[1:], alone=True).serve()
        case "try":
            sys.exit(run_trial())
        case "parent":
            _launch(words[1:], parent=True)
        case _:
            _launch(words, parent=needs_parent())


def _launch(words: list[str], *, parent: bool) -> None:
    settings, command = words[:4], words[4:]
    if parent:
        run_as_parent(
            lambda channel: _become(channel, settings, command, parent=True),
            lambda channel: _make_holder(channel, settings, alone=False),
        )
        return
    ours, its = socket.socketpair()
    _start_holder(its, settings)
    _become(ours, settings, command, parent=False)


def _become(channel: socket.socket, settings: list[str], command: list[str], *, parent: bool) -> None:
    """Put this process under the filter and become the application."""
    environment = own_environment()
    try:
        if parent:
            end_with_parent()
        machine = MACHINES[platform.machine()]
        listener = install_filter(machine, filter_program(machine, whole_messages=_uses_musl(command[0], environment)))
        socket.send_fds(channel, [b"\n"], [listener])
        if channel.recv(1) != b"\n":
            raise OSError(0, f"the holder has ended; see {settings[3]}")
        os.close(listener)
        channel.close()
    except OSError as error:
        give_up(f"cannot capture connections: {error.strerror}", CANNOT)
    execute(command, environment)


def _start_holder(channel: socket.socket, settings: list[str]) -> None:
    """As nobody's child: an application that waits for its children does not wait for it."""
    between = os.fork()
    if between:
        channel.close()
        os.waitpid(between, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.dup2(channel.fileno(), _CHANNEL)
    os.set_inheritable(_CHANNEL, True)
    arguments = sys.orig_argv
    own = arguments[: len(arguments) - len(sys.argv) + 1]
    os.execv(sys.executable, [*own, "hold", *settings])  # noqa: S606 - it becomes the holder


def _make_holder(channel: socket.socket, settings: list[str], *, alone: bool) -> Holder:
    """A holder with what comes by `channel`. `alone`: it is not told to end before the application."""
    proxy, dns, secret, log = settings
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(secret, "rb") as file:  # noqa: PTH123 - the holder does without pathlib
        known = file.read()
    _, (listener, *_), _, _ = socket.recv_fds(channel, 1, 1)
    for descriptor, opened in ((0, null), (1, null), (2, errors)):
        os.dup2(opened, descriptor)
    os.close(null)
    os.close(errors)
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if alone else ():
        signal.signal(number, signal.SIG_IGN)
    holder = Holder(MACHINES[platform.machine()], listener, Settings(int(proxy), int(dns), known))
    channel.send(b"\n")
    channel.close()
    return holder


def _uses_musl(command: str, environment: dict[bytes, bytes]) -> bool:
    """Whether the C library of this system or of the program is musl, which receives by ``recvmsg``."""
    places = [""] if "/" in command else os.fsdecode(environment.get(b"PATH", b"")).split(":")
    return any(map(_is_musl, (sys.executable, *[os.path.join(place, command) for place in places])))  # noqa: PTH118


def _is_musl(program: str) -> bool:
    try:
        with open(program, "rb") as file:  # noqa: PTH123
            return b"/ld-musl-" in file.read(4096)
    except OSError:
        return False
