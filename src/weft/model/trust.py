"""Trust bundles by one word, which agents and the control plane make alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

FORMER_ROOTS = "# former roots: they prove the control plane only\n"
"""Stands in a bundle that is handed out before the roots that are trusted no more."""


def trust_digest(fingerprints: Iterable[str]) -> str:
    """The digest of a bundle whose roots have these SHA-256 `fingerprints` (hex), whatever their order."""
    return hashlib.sha256("\n".join(sorted(fingerprints)).encode()).hexdigest()
