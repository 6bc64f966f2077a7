"""A trial of capture on this system: a process under the filter connects, and a holder leads it here. Says why not."""

from __future__ import annotations

import errno
import os
import platform
import select
import socket
import sys

from weft.agent.seccomp.addresses import Destination, proxy_header
from weft.agent.seccomp.holder import Holder, Settings
from weft.agent.seccomp.parent import needs_parent
from weft.agent.seccomp.program import filter_program
from weft.agent.seccomp.system import MACHINES, install_filter

_SOMEWHERE = ("192.0.2.1", 9)
"""Nobody has this address (RFC 5737)."""
_SECRET = b"trial"
_SECONDS = 5.0
_REASONS = {
    errno.EBUSY: "it is under such a filter already",
    errno.EACCES: "a process may not read what another of its user connects to",
    errno.ENOSYS: "the system does not let a process take part in another's connections (pidfd_getfd)",
}


def run_trial() -> int:
    """The exit code: 0 if capture works here, else 1, and the reason is printed."""
    if platform.machine() not in MACHINES:
        return _say(f"it is made for {', '.join(MACHINES)}, and this is {platform.machine()}")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        ours, its = socket.socketpair()
        parent = needs_parent()
        holder = os.fork()
        if not holder:
            os._exit(_hold(ours, port, its if parent else None))
        client = holder if parent else os.fork()  # no child of the holder, where an application need not be one
        if not client:
            os._exit(_connect(its))
        ours.close()
        its.close()
        code = os.waitstatus_to_exitcode(os.waitpid(client, 0)[1])
        if code:
            return _say(_REASONS.get(code, f"the system refuses: {os.strerror(code)}" if code > 0 else "it is killed"))
        proxy.settimeout(_SECONDS)
        with proxy.accept()[0] as led:
            told = led.recv(256)
            expected = proxy_header(Destination(socket.AF_INET, b"\xc0\0\2\1", 9), led.getpeername()[1], _SECRET)
    if told != expected:
        return _say("the connection was led without its header")
    return (
        0
        if parent or _ends(holder)
        else _say("the system does not tell that the last process has ended (Linux before 5.8)")
    )


def _connect(channel: socket.socket) -> int:
    """The errno with which it fails."""
    machine = MACHINES[platform.machine()]
    try:
        listener = install_filter(machine, filter_program(machine))
        socket.send_fds(channel, [b"\n"], [listener])
        os.close(listener)
        with socket.create_connection(_SOMEWHERE, timeout=_SECONDS):
            return 0
    except OSError as error:
        return error.errno or errno.EIO


def _hold(channel: socket.socket, port: int, its: socket.socket | None) -> int:
    """With the client's end of the channel, of a child: the errno with which that fails."""
    client = os.fork() if its is not None else 0
    if its is not None and not client:
        os._exit(_connect(its))
    if its is not None:
        its.close()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    channel.settimeout(_SECONDS)
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if descriptors:
        Holder(MACHINES[platform.machine()], descriptors[0], Settings(port, 0, _SECRET)).serve()
    return os.waitstatus_to_exitcode(os.waitpid(client, 0)[1]) if client else 0


def _ends(process: int) -> bool:
    descriptor = os.pidfd_open(process)
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    ended = bool(ready.poll(_SECONDS * 1000))
    os.close(descriptor)
    if not ended:
        os.kill(process, 9)
    os.waitpid(process, 0)
    return ended


def _say(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 1
