"""Which connection makes room where no hand-shake proves who calls: addresses share, and strangers go first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

PROMPT_SECONDS = 5.0
"""An honest caller has been answered by then: a connection that is closed when it is older turns nobody away."""


class Held(Protocol):
    """A connection."""

    @property
    def since(self) -> float:
        """By the clock of the event loop."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    @property
    def authenticated(self) -> bool:
        """Whether its caller has shown what an honest one does."""

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""


HeldT = TypeVar("HeldT", bound=Held)


def of_address_to_go(held: Collection[HeldT], address: str) -> HeldT | None:
    """The one of `address` that makes room for another of it; None if all are honest ones with a request under way."""
    own = [each for each in held if each.address == address and not (each.authenticated and each.busy)]
    return min(own, key=lambda each: (each.authenticated, each.since), default=None)


def one_to_go(held: Collection[HeldT], now: float) -> HeldT | None:
    """The one that makes room for anybody: strangers before others, then of the address that has most. An address that
    has only just come is no stranger yet."""
    counts = Counter(each.address for each in held)

    def stays(each: HeldT) -> bool:
        return each.authenticated or (counts[each.address] == 1 and now - each.since < PROMPT_SECONDS)

    def rank(each: HeldT) -> tuple[bool, int, bool, float]:
        return stays(each), -counts[each.address], each.busy, each.since

    return min(held, key=rank, default=None)
