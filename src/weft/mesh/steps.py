"""Steps: what changes of several sides at once are on the way. No caller is ahead of what a server accepts."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.mesh.policies.peerauthentication import PeerPolicies
from weft.mesh.services.turning import NO_TURNINGS, Turnings


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One of the steps of a change. Ports whose mode is another by `overlap` take plaintext, too; `turnings` are ports
    that carry requests and connections. Compared by identity."""

    overlap: PeerPolicies | None = None
    turnings: Turnings = field(default_factory=lambda: NO_TURNINGS)


NO_STEP = Step()
"""What documents say, and nothing else."""
