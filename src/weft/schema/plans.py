"""What the decoder knows about a kind's dataclass: its fields, their names in the API, types and defaults."""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any

from weft.schema.scalars import OneOf


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """One field: `name` in Python, `json` in documents with `aliases`, its type with annotations."""

    name: str
    json: str
    aliases: tuple[str, ...]
    hint: Any
    required: bool
    default: object = None


def json_name(name: str) -> str:
    """The API's spelling of a snake_case name."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


@functools.cache
def fields_of(cls: type) -> tuple[FieldPlan, ...]:
    """The fields of a kind's dataclass, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    plans = []
    for each in dataclasses.fields(cls):
        required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        default = each.default if each.default is not dataclasses.MISSING else None
        if each.default_factory is not dataclasses.MISSING:
            default = each.default_factory()
        plans.append(
            FieldPlan(
                name=each.name,
                json=each.metadata.get("json", json_name(each.name)),
                aliases=tuple(each.metadata.get("aliases", ())),
                hint=hints[each.name],
                required=required,
                default=default,
            )
        )
    return tuple(plans)


@functools.cache
def names_of(cls: type) -> dict[str, FieldPlan]:
    """The fields of a kind's dataclass by every spelling that is accepted."""
    return {name: plan for plan in fields_of(cls) for name in (plan.json, *plan.aliases)}


def choice_of(cls: type) -> OneOf | None:
    """The fields of which only one may be set, if the dataclass says so."""
    choice: OneOf | None = getattr(cls, "one_of", None)
    return choice
