"""Which ports weft chooses from when it may choose: below those that the system lends to outgoing connections."""

from __future__ import annotations

import os
import re
from pathlib import Path

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


def is_apart() -> bool:
    """Whether WEFT_PORTS keeps this mesh apart from others of the machine."""
    return bool(os.environ.get(VARIABLE))


def _first_lent() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_LOANS
