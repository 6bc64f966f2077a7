"""A trial of confinement on this system: a process in namespaces of its own connects, and it is seen where to."""

from __future__ import annotations

import errno
import os
import socket
import sys

from weft.agent.seccomp.addresses import Destination
from weft.agent.strict import system
from weft.agent.strict.door import Door, DoorError, open_door
from weft.agent.strict.relay import original_destination

_SOMEWHERE = ("192.0.2.1", 9)
"""Nobody has this address (RFC 5737)."""
_PROXY, _DNS = 15001, 15053
_SECONDS = 5.0


def run_trial() -> int:
    """The exit code: 0 if it works here, else 1, and the reason is printed."""
    try:
        door = open_door(_PROXY, _DNS)
        return _try(door)
    except DoorError as error:
        return _say(str(error))


def _try(door: Door) -> int:
    with door.listener("127.0.0.1", _PROXY) as proxy:
        client = os.fork()
        if not client:
            os._exit(_connect(door.process))
        code = os.waitstatus_to_exitcode(os.waitpid(client, 0)[1])
        if code:
            why = os.strerror(code) if code > 0 else "it is killed"
            return _say(f"a process in a namespace of its own cannot connect: {why}")
        proxy.settimeout(_SECONDS)
        with proxy.accept()[0] as led:
            if original_destination(led) != Destination(socket.AF_INET, b"\xc0\0\2\1", 9):
                return _say("the system does not say where a redirected connection was to go")
    return 0


def _connect(process: int) -> int:
    """The errno with which it fails."""
    try:
        system.enter_namespaces(process)
        system.drop_capabilities()
        with socket.create_connection(_SOMEWHERE, timeout=_SECONDS):
            return 0
    except OSError as error:
        return error.errno or errno.EIO


def _say(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 1
