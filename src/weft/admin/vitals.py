"""Vitals: how the process of the control plane is, as `weft check` asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vitals:
    """`late` is the longest time within the last minute by which the event loop came round too late, `free` and `room`
    are bytes where the store is (None: not known), `started` and the ends of certificates are epoch seconds (0: not
    known). `own_root`: weft has the root's key, and so renews the intermediate itself."""

    late: float = 0.0
    free: int | None = None
    room: int | None = None
    started: float = 0.0
    root_ends: float = 0.0
    intermediate_ends: float = 0.0
    server_ends: float = 0.0
    own_root: bool = True
