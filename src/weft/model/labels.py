"""Labels and selectors, as Kubernetes defines them for equality-based matching."""

from __future__ import annotations

from collections.abc import Mapping

Labels = tuple[tuple[str, str], ...]
"""Key and value pairs sorted by key: hashable and in one order."""


def labels_from_mapping(mapping: Mapping[str, str]) -> Labels:
    """A mapping in canonical order."""
    return tuple(sorted(mapping.items()))


def selects(selector: Labels, labels: Labels) -> bool:
    """Whether every pair of a non-empty `selector` is among `labels`. An empty selector selects nothing."""
    return bool(selector) and set(selector) <= set(labels)
