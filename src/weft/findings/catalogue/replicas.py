"""Codes of several control planes that are one mesh's."""

from __future__ import annotations

from weft.findings.catalogue.entry import error

REPLICAS = (
    error(
        1615,
        "state-not-followed",
        "This control plane shares its authority and keys with others in a Secret, and does not see what they change "
        "there. What it read last stays in force: it issues and trusts as before, and a rotation of the root waits.",
        "Secret weft-system/weft-ca cannot be followed: no connection can be made; what was read last stays in force",
        "The message says why. See whether the API server answers, and whether the Role weft-state is there.",
    ),
)
