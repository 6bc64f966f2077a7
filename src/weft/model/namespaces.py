"""Which namespaces of a cluster are in the mesh's view."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class NamespaceView:
    """The namespaces that are `shown`, those `left_out`, and those of these that ask for sidecars (`injected`).
    Compared by identity: all that is seen at one moment is of one view."""

    shown: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    injected: frozenset[str] = frozenset()
