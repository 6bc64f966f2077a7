"""What is said of a dataclass beside its types: rules between fields, its normal form, what exists upstream only.

All of it is about `weft.schema.kinds`, and costs memory and time to import. Whoever reads other files as strictly, such
as a weft.yaml, does without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weft.schema.findings import Finding, Rule

_KINDS = "weft.schema.kinds."
_NOTHING: Mapping[str, Any] = MappingProxyType({})
Normaliser = Callable[[Any], tuple[object, tuple[Finding, ...]]]


@dataclass(frozen=True, slots=True)
class Said:
    """The rules of a dataclass, and how it is brought into its normal form. By fields: why they have no effect, or are
    not supported; and by fields and values, why these are not."""

    rules: tuple[Rule, ...] = ()
    normalise: Normaliser | None = None
    no_effect: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    unsupported: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    unsupported_values: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _NOTHING)


_OF_OTHERS = Said()


def said_of(cls: type) -> Said:
    """What is said of a dataclass."""
    return _said_of_kind(cls) if cls.__module__.startswith(_KINDS) else _OF_OTHERS


@functools.cache
def _said_of_kind(cls: type) -> Said:
    from weft.schema.rules import NORMALISERS, RULES  # noqa: PLC0415 - it imports every kind
    from weft.schema.upstream import (  # noqa: PLC0415
        NO_EFFECT_FIELDS,
        UNSUPPORTED_FIELDS,
        UNSUPPORTED_VALUES,
    )

    values = {name: said for (kind, name), said in UNSUPPORTED_VALUES.items() if kind is cls}
    return Said(
        RULES.get(cls, ()),
        NORMALISERS.get(cls),
        NO_EFFECT_FIELDS.get(cls, _NOTHING),
        UNSUPPORTED_FIELDS.get(cls, _NOTHING),
        values,
    )
