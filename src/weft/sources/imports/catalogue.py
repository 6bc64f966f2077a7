"""What a registry holds: services and their instances, in one shape for all kinds of registries, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from weft.model.labels import Labels

MOST_SERVICES = 1000
MOST_INSTANCES = 10_000
"""Of one import, in all its services; what is above either is left out and told."""
MOST_LABELS = 32
"""Of an instance that its registry gave it; others are left out."""


class ImportReadError(Exception):
    """A registry cannot be read now, or what it says is not understood; the message says why."""


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One instance. `id` is the registry's own, unique in its service. `account` (empty: none stands there) is the
    service account of the proxy of a mesh in front of it; `weight` counts calls beside others of 1."""

    id: str
    address: str
    port: int
    labels: Labels = ()
    locality: str = ""
    weight: int = 1
    account: str = ""


@dataclass(frozen=True, slots=True)
class ImportedService:
    """One service as its registry names it, its instances sorted. `port` and `protocol` are what the registry says that
    callers name (0 and empty: nothing)."""

    name: str
    instances: tuple[Instance, ...] = ()
    port: int = 0
    protocol: str = ""


Catalogue = tuple[ImportedService, ...]
"""All services of a registry that are imported, by name."""
Publish = Callable[[Catalogue], None]


class Registry(Protocol):
    """One registry. Implementations pass `tests/conformance/test_imports.py`."""

    async def follow(self, publish: Publish) -> None:
        """Say the whole catalogue when it has been read, and whenever it has changed, for ever. ImportReadError ends
        it: whoever calls waits, and calls again."""


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a service is imported: one of the patterns (``*`` is any text) means it, or there are none."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
