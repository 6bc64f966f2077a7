"""What the rules have counted: new connections and questions, by where they were led."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule's name, and the packets and bytes that met it: of a connection that is led the first, with TPROXY all."""

    name: str
    packets: int
    bytes: int


def summed(counted: Iterable[Counted]) -> dict[str, dict[str, int]]:
    """By name: several rules may have one."""
    found: dict[str, dict[str, int]] = {}
    for each in counted:
        row = found.setdefault(each.name, {"packets": 0, "bytes": 0})
        row["packets"] += each.packets
        row["bytes"] += each.bytes
    return found
