"""A Meter: what the hub tells of its own work to whoever counts it."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Called by the hub on the event loop's thread; must return at once."""

    def sent(self, type_url: str, size: int) -> None:
        """A response of `size` bytes was written to a proxy."""

    def refused(self, type_url: str) -> None:
        """A proxy refused a resource of this type."""

    def converged(self, seconds: float) -> None:
        """Every proxy that a publication concerned has answered all of it, this long after its beginning."""

    def given_up(self) -> None:
        """A publication was not answered by everybody, and is not waited for any more."""


class NoMeter:
    """Counts nothing."""

    def sent(self, type_url: str, size: int) -> None:
        """See `Meter`."""

    def refused(self, type_url: str) -> None:
        """See `Meter`."""

    def converged(self, seconds: float) -> None:
        """See `Meter`."""

    def given_up(self) -> None:
        """See `Meter`."""
