"""Root rotation as a state machine: which root signs, which are trusted, and what has to hold before the next step.

Pure: the clock and what proxies have confirmed come in, the next state goes out. `weft.ca.slots` keeps the state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

PATIENCE = 25 * 3600.0
"""The longest life of a workload's certificate, and an hour. Who has not confirmed a step for so long has no valid
certificate any more, and is not waited for."""


class RotationError(Exception):
    """What was asked for cannot be done now; the message says why."""


class Phase(StrEnum):
    """Where a rotation stands."""

    STEADY = "steady"
    """One root, which signs and is trusted."""
    TRUSTING = "trusting"
    """The new root is handed out beside the old one, which still signs. Next when all trust both."""
    ISSUING = "issuing"
    """The new root signs, both are trusted. Next when all certificates in use are the new root's."""
    DROPPING = "dropping"
    """The old root is trusted no more. Next when all have the bundle without it; then old connections are closed."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state. Generations of roots are numbered; `source` is the one that is left and `target` the one that stays.

    They are the same while the phase is steady. `since` is when the phase began (epoch seconds), `overlap` how many
    seconds both roots are trusted at least once the new one signs. `epoch` counts the roots that were dropped: with it
    connections change that were made under them. `returning`: the rotation was aborted, and goes back.
    """

    phase: Phase = Phase.STEADY
    source: int = 1
    target: int = 1
    since: float = 0.0
    overlap: float = 0.0
    epoch: int = 0
    returning: bool = False

    @property
    def signs(self) -> int:
        """The generation that signs workloads' certificates."""
        return self.source if self.phase is Phase.TRUSTING else self.target

    @property
    def serves(self) -> int:
        """The generation that signs the control plane's own certificate: the older one for as long as it is trusted, so
        that an agent which has slept through a step still knows whom it speaks with."""
        return self.target if self.phase in (Phase.STEADY, Phase.DROPPING) else min(self.source, self.target)

    @property
    def trusted(self) -> tuple[int, ...]:
        """The generations in the bundle, the one that signs first."""
        if self.phase in (Phase.STEADY, Phase.DROPPING):
            return (self.target,)
        return (self.signs, self.source if self.signs == self.target else self.target)

    @property
    def abortable(self) -> bool:
        """Whether it can still be taken back."""
        return self.phase in (Phase.TRUSTING, Phase.ISSUING) and not self.returning

    @property
    def gives_up(self) -> float:
        """When the phase ends whoever has not confirmed it (epoch seconds)."""
        return self.since + max(PATIENCE, self.overlap if self.phase is Phase.ISSUING else 0.0)

    @property
    def wants_issuer(self) -> bool:
        """Whether certificates in use have to be those of the generation that signs."""
        return self.phase in (Phase.ISSUING, Phase.DROPPING)


def begin(rotation: Rotation, generation: int, now: float, overlap: float = 0.0) -> Rotation:
    """Towards the roots of `generation`. RotationError if another rotation is under way."""
    if rotation.phase is not Phase.STEADY:
        raise RotationError(
            f"a rotation is under way ({rotation.phase}); wait for its end (weft ca status), or: weft ca abort"
        )
    return replace(rotation, phase=Phase.TRUSTING, target=generation, since=now, overlap=overlap, returning=False)


def abort(rotation: Rotation, now: float) -> Rotation:
    """Back to the old root. Nothing was signed by the new one while it was only trusted, so it is dropped at once;
    later, certificates are renewed under the old root first. RotationError if it is too late."""
    if not rotation.abortable:
        reason = {
            Phase.STEADY: "no rotation is under way",
            Phase.DROPPING: "the old root is being dropped already; to go back, rotate again when it has ended",
        }.get(rotation.phase, "it is being taken back already")
        raise RotationError(f"there is nothing to abort: {reason}")
    phase = Phase.DROPPING if rotation.phase is Phase.TRUSTING else Phase.ISSUING
    return replace(
        rotation,
        phase=phase,
        source=rotation.target,
        target=rotation.source,
        since=now,
        overlap=0.0,
        returning=True,
    )


def advance(rotation: Rotation, now: float, *, confirmed: bool) -> Rotation:
    """The next state, or `rotation` itself if it is not time yet. `confirmed`: every live proxy has done this step."""
    waited = now - rotation.since
    over = now >= rotation.gives_up
    match rotation.phase:
        case Phase.TRUSTING if confirmed or over:
            return replace(rotation, phase=Phase.ISSUING, since=now)
        case Phase.ISSUING if (confirmed and waited >= rotation.overlap) or over:
            return replace(rotation, phase=Phase.DROPPING, since=now)
        case Phase.DROPPING if confirmed or over:
            return Rotation(Phase.STEADY, rotation.target, rotation.target, now, epoch=rotation.epoch + 1)
        case _:
            return rotation


@dataclass(frozen=True, slots=True)
class Wanted:
    """What proxies should have in use: the digest of the bundle, and the fingerprint of the issuer (empty: any)."""

    trust: str
    issuer: str = ""

    def met(self, trust: str, issuer: str) -> bool:
        """Whether a proxy that has these in use is where it should be."""
        return trust == self.trust and self.issuer in ("", issuer)
