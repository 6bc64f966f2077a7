"""Garbage collection in a process that holds many values for long and makes few cycles."""

from __future__ import annotations

import gc

_YOUNG = 50_000
"""Containers made, less those given back, before the collector looks for cycles among them; Python's default is 700."""


def collect_seldom() -> None:
    """Leave what is imported out of every collection, and collect less often.

    A control plane holds hundreds of thousands of frozen nodes that form no cycles. With the default a thousand proxies
    that connect cost forty whole collections of up to half a second each, which found nothing (ADR 0017).
    """
    gc.freeze()
    gc.set_threshold(_YOUNG)


class Remains:
    """Cycles that short-lived things of some size leave behind, such as an error that holds the frames it passed
    through: looked for after every so many, where collections are seldom."""

    def __init__(self, many: int) -> None:
        self._many = many
        self._count = 0

    def one_more(self) -> None:
        """Something has ended that may be part of a cycle. Costs what a collection of what is young costs, each time
        that `many` have."""
        self._count += 1
        if self._count >= self._many:
            self._count = 0
            gc.collect(1)
