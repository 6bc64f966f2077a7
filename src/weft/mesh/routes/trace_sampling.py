"""Sampling of a route's own requests: the annotation by which its document has more or fewer of them traced."""

from __future__ import annotations

from dataclasses import replace

from weft.mesh.routes.kind import RouteDocument
from weft.mesh.routes.rules import Rule
from weft.schema.annotations import TRACE_SAMPLING


def with_trace_sampling(rule: Rule, document: RouteDocument) -> Rule:
    """`rule` with its document's share."""
    share = trace_share(document)
    return rule if share is None else replace(rule, sampling=share)


def trace_share(document: RouteDocument) -> float | None:
    """What a route says, in percent. The decoder lets nothing else through."""
    return next((float(text) for key, text in document.annotations if key == TRACE_SAMPLING), None)
