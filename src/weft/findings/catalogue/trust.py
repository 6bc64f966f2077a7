"""Codes of the end of trust: identities that are revoked, and what is kept of it."""

from __future__ import annotations

from weft.findings.catalogue.entry import error

TRUST = (
    error(
        1340,
        "identity-revoked",
        "A proxy connected whose identity is revoked, or with a certificate from before it was revoked or removed. It "
        "is given nothing.",
        "workload default/cart-1 is revoked",
        "If it is to come back: restore it, and start its agent again (on another host with a new join token).",
        "weft identity list",
    ),
    error(
        1341,
        "distrust-damaged",
        "An end of trust in the store cannot be decoded. What was read of it before stays in force until a restart.",
        "the end of trust workload/default/cart-1 cannot be decoded",
        "Revoke the identity again.",
        "weft identity list",
    ),
)
