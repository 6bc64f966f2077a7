"""Moments as they are written: one form in every answer."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(seconds: float) -> str:
    """A moment, in seconds since the epoch, as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
