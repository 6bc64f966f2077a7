"""Looks: how often to look for what somebody waits for, without missing it for long or looking for ever."""

from __future__ import annotations

_SHARE = 0.05


def next_look(waited: float, least: float, most: float) -> float:
    """Seconds until the next look for something that has been waited for `waited` seconds: a twentieth of that, so that
    the wait is hardly longer for it, but between `least` and `most`."""
    return min(max(least, _SHARE * waited), most)
