"""Refusals: what proxies refuse, and whether it is the resource's fault, or that of the one who refuses it."""

from __future__ import annotations

from dataclasses import dataclass

from weft.discovery.roster import Roster
from weft.discovery.subscription import Rejection


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many proxies refuse a resource, and how many others hold the very same, because they took it."""

    refused: int
    taken: int

    @property
    def stands_alone(self) -> bool:
        """Whether more have taken it than refuse it: then it is put down to those who refuse it."""
        return self.taken > self.refused


UNCOMPARED = Verdict(1, 0)
"""Nobody else was asked."""


class Verdicts:
    """Counted once for each resource, as things are now: not to be kept."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._known: dict[tuple[str, str, str], Verdict] = {}

    def of(self, rejection: Rejection) -> Verdict:
        """What the others say of what one refuses."""
        key = (rejection.type_url, rejection.name, rejection.version)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._count(*key)
        return known

    def _count(self, type_url: str, name: str, version: str) -> Verdict:
        refused, taken = set[str](), set[str]()
        for stream in self._roster:
            held = stream.session.held(type_url, name)
            subscription = stream.session.subscriptions.get(type_url)
            rejected = subscription.rejected.get(name) if subscription else None
            if rejected is not None and rejected.version == version:
                refused.add(stream.proxy)
            elif held is not None and held.version == version:
                taken.add(stream.proxy)
        return Verdict(len(refused), len(taken - refused))
