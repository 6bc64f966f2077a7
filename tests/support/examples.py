"""How many random examples a property is tried with: as many as it says, and a tenth of that with ``--quick``."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(count: int) -> int:
    """`count` in a whole run."""
    return max(1, count * settings().max_examples // _USUAL)
