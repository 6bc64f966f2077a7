"""Which ports weft chooses from when it may choose, and what agents and control planes know of each other's choice."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from weft.settings.home import Home

VARIABLE = "WEFT_PORTS"
_RANGE = re.compile(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})")
_LARGEST = 65_535
_FEWEST = 100
_LOWEST = 20_000
_HIGHEST = 60_000
_USUAL_LOANS = 49_152


def own_ports() -> range:
    """Ports that no outgoing connection is given, so that a restart finds its own free again; or those of WEFT_PORTS,
    which keeps meshes of one machine apart: one could take what another has while that one does not run.

    Raises:
        ValueError: the variable is no range of ports.
    """
    if wanted := os.environ.get(VARIABLE, ""):
        found = _RANGE.fullmatch(wanted)
        if found is None or int(found[2]) > _LARGEST or int(found[2]) - int(found[1]) < _FEWEST:
            raise ValueError(f"{VARIABLE}: found {wanted!r}, expected more than {_FEWEST} ports such as 20000-24999")
        return range(int(found[1]), int(found[2]) + 1)
    return range(_LOWEST, max(_LOWEST + 1000, min(_HIGHEST, _first_lent())))


def usual_port(port: int) -> int:
    """`port`, where people and tools look for it by default; 0, for none, where WEFT_PORTS says which ports to use."""
    return 0 if os.environ.get(VARIABLE, "") else port


def remembered_ports(home: Home) -> Mapping[str, int]:
    """The ports of the home's control plane by what listens there: those that it has, or had when it last ran."""
    try:
        value = json.loads(home.ports.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: port for name, port in value.items() if isinstance(port, int) and 0 < port <= _LARGEST}


class Reservations:
    """Ports that this process has chosen and at which nobody listens yet, so that no weft of another home chooses them.

    Each is the name of an abstract unix socket (Linux, unix(7)): one process of a network namespace has it, which is as
    far as ports reach, and it is free when that process ends, however it does. Elsewhere there are none.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def add(self, port: int) -> bool:
        """Whether the port is ours to choose: False when another has it. Where it cannot be known, it is."""
        if port in self._held or sys.platform != "linux":
            return True
        try:
            name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError:
            return True
        try:
            name.bind(f"\0weft-port-{port}")
        except OSError as error:
            name.close()
            return error.errno != errno.EADDRINUSE
        self._held[port] = name
        return True

    def drop(self, port: int) -> None:
        """Give one back."""
        if held := self._held.pop(port, None):
            held.close()

    def release(self) -> None:
        """Give back all."""
        for port in tuple(self._held):
            self.drop(port)


def _first_lent() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_LOANS
