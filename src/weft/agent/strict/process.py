"""What runs for a confined application: its relay, the launcher that becomes it, and a trial of both on this system.

Started without weft's packages: see `launching`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

from weft.agent.seccomp.becoming import CANNOT, execute, give_up, own_environment
from weft.agent.strict import system
from weft.agent.strict.door import Door, DoorError, open_door
from weft.agent.strict.relay import Relay, Ways
from weft.agent.strict.trial import run_trial


def main(words: list[str]) -> None:
    """Of the relay (``relay PROXY DNS SECRET MEMBER UPSTREAMS PORTS``, of which SECRET is a file, MEMBER a process in
    namespaces that are there, or 0, and the last two have commas), of the launcher (``enter PROCESS COMMAND…``), and of
    a trial (``try``)."""
    match words:
        case ["relay", proxy, dns, secret, member, upstreams, ports]:
            _relay(Ways(int(proxy), int(dns), _read(secret), _numbers(upstreams), _numbers(ports)), int(member))
        case ["enter", process, *command]:
            _enter(int(process), command)
        case ["try"]:
            sys.exit(run_trial())


def _relay(ways: Ways, member: int) -> None:
    """Prints ``ready`` and the number of a process inside, or what is wrong."""
    agent = os.getppid()
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        door: Door = open_door(ways.proxy, ways.dns, member)
        relay = Relay(ways, door)
    except (DoorError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        sys.stdout.flush()
        os._exit(CANNOT)
    sys.stdout.write(f"ready {door.process}\n")
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)
    relay.serve(agent)


def _enter(process: int, command: list[str]) -> None:
    """Become `command` in the namespaces of `process`, without a capability there."""
    environment, directory = own_environment(), os.getcwd()  # noqa: PTH109
    try:
        system.enter_namespaces(process)
        os.chdir(directory)
        system.drop_capabilities()
    except OSError as error:
        give_up(f"cannot start {command[0]} in a network of its own: {error.strerror}", CANNOT)
    execute(command, environment)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(",") if each)
