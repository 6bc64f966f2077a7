"""Words of messages: a value as it may be shown, and the name that was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from weft.schema.findings import printable
from weft.schema.registry import KIND_NAMES


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


def nearest_name(text: str, names: Iterable[str]) -> str:
    """The name closest to `text`, or nothing when none is close. A kind that exists is no typing error of another."""
    if text in KIND_NAMES:
        return ""
    by_lower = {name.lower(): name for name in names if name}
    close = difflib.get_close_matches(text[:100].lower(), by_lower, n=1)
    return by_lower[close[0]] if close else ""
