"""Codes of several control planes that are one mesh's."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

REPLICAS = (
    error(
        1615,
        "state-not-followed",
        "This control plane shares its authority and keys with others in a Secret, and does not see what they change "
        "there. What it read last stays in force: it issues and trusts as before, and a rotation of the root waits. "
        "The same is said where the Secret holds something older than what is in force: a backup that was put back "
        "while control planes ran, of which those that start would begin with another root.",
        "Secret weft-system/weft-ca cannot be followed: no connection can be made; what was read last stays in force",
        "The message says why. See whether the API server answers, and whether the Role weft-state is there; after "
        "putting back a backup, scale the control planes to 0 and back.",
    ),
    warning(
        1620,
        "replica-away",
        "Another replica of the control plane, whose Pod is there, has not answered for a while. Which proxies it "
        "serves and what they have confirmed is unknown; they go on with what they have. A root is not taken out of "
        "trust meanwhile.",
        "replica weft-5d9c7 of the control plane is unknown (it does not answer in time), and so are its proxies, "
        "which go on; expected a network that lets control planes reach each other at the port of the agent API",
        "Look at that Pod and its log; a NetworkPolicy has to let control planes reach each other at port 15013.",
    ),
    warning(
        1621,
        "limits-per-replica",
        "A RateLimitPolicy counts for all proxies together, and several replicas of the control plane count, each in "
        "its own memory: together they let through up to as many times as much as there are replicas.",
        "3 replicas of the control plane count this limit, each by itself; expected a store of counts that they share",
        "Give all of them the same Redis or Valkey with --rate-limit-store (docs/rate-limits.md).",
    ),
)
