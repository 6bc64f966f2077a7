"""Patches: changes to what a proxy is given, in Envoy's own words. What they say is not looked at here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.schema.kinds.envoyfilter import ApplyTo, ConfigMatch, Operation

Context = Literal["SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One change that the document `object` makes at `origin`: `operation` on those `applies_to` that `match`. `value`
    is JSON, empty where there is none, `number` its place in the document. Compared by identity."""

    object: ObjectKey
    origin: Origin
    applies_to: ApplyTo
    match: ConfigMatch
    operation: Operation
    value: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """The patches of a proxy, in the order in which they are applied. Compared by identity."""

    all: tuple[Patch, ...] = ()


NO_PATCHES = Patches()
