"""The SharedDirectory protocol: files that are the same in every control plane, changed in all or in none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

ResultT = TypeVar("ResultT")


class SharedDirectory(Protocol):
    """What owners of files ask where other control planes have the same files."""

    async def change(self, work: Callable[[Path], ResultT]) -> ResultT:
        """Let `work` change a copy of the directory, and when it returns make that what all have; it is called again
        with a newer copy if another control plane was faster. The directory itself holds it then. What `work` raises
        changes nothing; OSError if the files cannot be shared now."""

    async def fetch(self) -> None:
        """Have in the directory what all have at this moment. OSError."""
