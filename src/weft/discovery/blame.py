"""Which resources a client's error message blames."""

from __future__ import annotations

from weft.xds.snapshot import Resource


def named_resources(message: str, sent: dict[str, Resource]) -> list[str]:
    """The resources an error message blames, for messages of the form Envoy and gRPC use for several resources.

    Envoy: ``Error adding/updating cluster(s) NAME: REASON, NAME: REASON`` (listeners: one per line); it has applied
    the others. gRPC: ``…: NAME: REASON``. Other messages name parts of a resource, or nothing.
    """
    head, found, tail = message.partition("(s) ")
    if not found or not head.startswith("Error adding/updating"):
        return [name for name in sent if f": {name}: " in message]
    return [name for name in sent if tail.startswith(f"{name}: ") or f", {name}: " in tail or f"\n{name}: " in tail]
