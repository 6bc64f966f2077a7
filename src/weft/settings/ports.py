"""Which ports weft chooses from when it may choose: below those that the system lends to outgoing connections."""

from __future__ import annotations

from pathlib import Path

_LOWEST = 20_000
_HIGHEST = 60_000
_USUAL_LOANS = 49_152


def own_ports() -> range:
    """Ports that no outgoing connection is given, so that a restart finds its own free again."""
    return range(_LOWEST, max(_LOWEST + 1000, min(_HIGHEST, _first_lent())))


def _first_lent() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_LOANS
