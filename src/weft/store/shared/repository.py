"""The Repository protocol: a head that only who has read its last version can replace, and parts that never change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


class RepositoryError(Exception):
    """Something cannot be read or written now; the message says why. `unknown`: a write may have been done all the
    same. `after`: not to be asked for so many seconds."""

    def __init__(self, message: str, *, unknown: bool = False, after: float = 0.0) -> None:
        super().__init__(message)
        self.unknown = unknown
        self.after = after


@dataclass(frozen=True, slots=True)
class HeldHead:
    """The head's bytes, and the version that has them."""

    data: bytes = field(repr=False)
    version: str


class Repository(Protocol):
    """Every method raises RepositoryError. Names are letters, digits and dashes."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def head(self) -> HeldHead | None:
        """The head as it is now: no write that ended before is missing. None: there is none."""

    async def replace(self, data: bytes, version: str) -> str | None:
        """Replace the head of a version (empty: make the first), and give the new version. None: another was faster."""

    async def create(self, name: str, data: bytes) -> None:
        """Keep a part under a name that was never used."""

    async def read(self, name: str) -> bytes | None:
        """A part; None if it was removed."""

    async def remove(self, name: str) -> None:
        """Remove a part, if it is there."""

    async def parts(self) -> dict[str, float]:
        """The names of all parts, and since how many seconds they are there."""

    def watch(self, version: str) -> AbstractAsyncContextManager[AsyncIterator[HeldHead]]:
        """Heads that come after `version`, perhaps not each; it ends at any time."""
