"""Words of messages: a value as it may be shown, and the name that was perhaps meant."""

from __future__ import annotations

import difflib
import functools
import heapq
from collections.abc import Iterable

from weft.schema.findings import printable

HINTS = 8
"""How many names of one registration are compared with those that perhaps were meant: the others stay without a hint.
Whoever registers a workload chooses them, and everybody waits for the comparison."""
_COMPARED = 8


def shown(value: object) -> str:
    """`value` as it may stand in a message: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return f"'{printable(text)}'"


def nearest_name(text: str, names: Iterable[str], alike: float = 0.6) -> str:
    """The name closest to `text`, or nothing when none is close: so much of both has to be the same (`alike`, 0 to 1).
    A kind that exists is no typing error of another.

    Of many names only those that share most pairs of letters with it are looked at closely, which takes far longer.
    """
    from weft.schema.registry import KIND_NAMES  # noqa: PLC0415 - it imports every kind, and few make typing errors

    if text in KIND_NAMES:
        return ""
    word = text[:100].lower()
    candidates = {name.lower(): name for name in names if name}
    if len(candidates) > _COMPARED:
        pairs = _pairs(word)
        close = heapq.nlargest(_COMPARED, candidates, key=lambda name: len(pairs & _pairs(name)))
    else:
        close = list(candidates)
    found = difflib.get_close_matches(word, close, n=1, cutoff=alike)
    return candidates[found[0]] if found else ""


@functools.lru_cache(maxsize=1 << 14)
def _pairs(word: str) -> frozenset[str]:
    return frozenset(map("".join, zip(f" {word}", f"{word} ", strict=True)))
