"""The places where a chain of HTTP filters stands."""

from __future__ import annotations

import enum


class Place(enum.Enum):
    """Where a chain of filters stands."""

    OUTBOUND = "on an application's way out"
    INBOUND = "before an application"
    GATEWAY = "at the edge"
