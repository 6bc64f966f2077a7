"""Times as people say them."""

from __future__ import annotations

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def lasting(seconds: float) -> str:
    """``ends in 6 days``, or ``ended 2 hours ago``."""
    return f"ends in {span(seconds)}" if seconds > 0 else f"ended {span(-seconds)} ago"


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a second"
