"""Access logs of a route's own requests: the annotation by which its document turns them on or off."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from weft.mesh.routes.kind import RouteDocument
from weft.mesh.routes.rules import Rule
from weft.schema.annotations import ACCESS_LOG

Word = Literal["", "on", "off"]


def route_word(document: RouteDocument) -> Word:
    """What a route says: ``on`` has a line written for each of its requests, ``off`` for none; empty for nothing."""
    for key, text in document.annotations:
        if key == ACCESS_LOG:
            return "on" if text == "on" else "off" if text == "off" else ""
    return ""


def with_access_log(rule: Rule, document: RouteDocument) -> Rule:
    """`rule` with its document's word."""
    word = route_word(document)
    return replace(rule, access_log=word) if word else rule
