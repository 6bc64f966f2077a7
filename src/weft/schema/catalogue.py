"""The fields of every kind as rows, for the generated reference."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from weft.schema.forms import FORMS
from weft.schema.plans import FieldPlan, choice_of, fields_of
from weft.schema.registry import Kind
from weft.schema.scalars import AnyValue, Length, Range, Scalar
from weft.schema.upstream import NO_EFFECT_FIELDS


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field. `path` as in ``spec.rules[].matches[].path``; `type` in words; `default` and `allowed` empty when
    there is nothing to say; `description` that of the object the field holds."""

    path: str
    type: str
    required: bool
    default: str
    allowed: str
    description: str


def kind_description(kind: Kind) -> str:
    """What the kind's docstring says."""
    return inspect.getdoc(kind.spec) or ""


def kind_rows(kind: Kind) -> Iterator[FieldRow]:
    """Every field of `kind`, parents before their children."""
    yield from _rows(kind.spec, "" if kind.flat else "spec.", ())


def object_rows(cls: type) -> Iterator[FieldRow]:
    """Every field of a file that is no document, such as weft.yaml."""
    yield from _rows(cls, "", ())


def idle_rows(kind: Kind) -> Iterator[tuple[str, str]]:
    """Fields of `kind` that are taken with a warning because they have no effect: path and reason."""
    yield from _idle_rows(kind.spec, "" if kind.flat else "spec.", ())


def _idle_rows(cls: type, prefix: str, above: tuple[type, ...]) -> Iterator[tuple[str, str]]:
    for name, reason in NO_EFFECT_FIELDS.get(cls, {}).items():
        yield prefix + name, reason
    for plan in fields_of(cls):
        shape = _shape(plan.hint)
        if shape.inner is not None and shape.inner not in above:
            yield from _idle_rows(shape.inner, prefix + plan.json + shape.suffix + ".", (*above, cls))


def _rows(cls: type, prefix: str, above: tuple[type, ...]) -> Iterator[FieldRow]:
    for plan in fields_of(cls):
        shape = _shape(plan.hint)
        path = prefix + plan.json
        yield FieldRow(
            path=path,
            type=shape.words,
            required=plan.required,
            default=_default(plan),
            allowed=_allowed(cls, plan, shape.allowed),
            description=_description(shape.inner),
        )
        if shape.inner is not None and shape.inner not in above:
            yield from _rows(shape.inner, path + shape.suffix + ".", (*above, cls))


@dataclass(frozen=True, slots=True)
class _Shape:
    words: str
    allowed: str = ""
    inner: type | None = None
    suffix: str = ""


_PLAIN_WORDS = {str: "text", int: "whole number", float: "number", bool: "boolean", AnyValue: "anything"}


@functools.cache
def _shape(hint: Any) -> _Shape:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        shape = _annotated_shape(arguments[0], arguments[1:])
    elif origin is Literal:
        shape = _literal_shape(arguments)
    elif origin in (Union, types.UnionType):
        shape = _shape(next(each for each in arguments if each is not type(None)))
    elif origin is tuple:
        item = _shape(arguments[0])
        shape = _Shape(f"list of {item.words}", item.allowed, item.inner, "[]" + item.suffix)
    elif origin is not None and issubclass(origin, Mapping):
        item = _shape(arguments[1])
        shape = _Shape(f"mapping to {item.words}", item.allowed, item.inner, ".*" + item.suffix)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        shape = _Shape("object", inner=hint)
    else:
        shape = _Shape(_PLAIN_WORDS[hint])
    return shape


def _literal_shape(choices: tuple[object, ...]) -> _Shape:
    words = "boolean" if isinstance(choices[0], bool) else "number" if isinstance(choices[0], int) else "text"
    told = (str(choice).lower() if isinstance(choice, bool) else str(choice) or "''" for choice in choices)
    return _Shape(words, ", ".join(told))


def _annotated_shape(base: Any, marks: tuple[object, ...]) -> _Shape:
    scalar = next((mark for mark in marks if isinstance(mark, Scalar)), None)
    if scalar is not None and scalar.form == "port-or-name":
        shape = _Shape("port number or name")
    elif scalar is not None and scalar.form == "weight":
        shape = _Shape("number", "or thousandths as text: 900m")
    elif scalar is not None and scalar.form == "written-port":
        shape = _Shape("number", "or the number as text")
    elif scalar is not None:
        shape = _Shape(_FORM_WORDS.get(scalar.form, "text"), FORMS[scalar.form].expected)
    else:
        shape = _shape(base)
    allowed = [shape.allowed] if shape.allowed else []
    for mark in marks:
        if isinstance(mark, Range):
            allowed.append(f"{mark.low:g} to {mark.high:.12g}")
        elif isinstance(mark, Length):
            unit = "items" if get_origin(base) is tuple else "characters"
            allowed.append(f"{mark.low} to {mark.high} {unit}")
    return dataclasses.replace(shape, allowed="; ".join(allowed))


_FORM_WORDS = {
    "duration": "duration",
    "positive-duration": "duration",
    "gateway-duration": "duration",
    "base64": "base64",
    "regex": "regular expression",
    "presence-regex": "regular expression",
}


def _allowed(cls: type, plan: FieldPlan, allowed: str) -> str:
    choice = choice_of(cls)
    if choice is None or plan.name not in choice.fields:
        return allowed
    others = ", ".join(each.json for each in fields_of(cls) if each.name in choice.fields and each.name != plan.name)
    return f"{allowed}; not with {others}" if allowed else f"not with {others}"


def _default(plan: FieldPlan) -> str:
    value = plan.default
    if plan.required or value is None or value in ("", (), {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int | str) else "see its fields"
    )


def _description(inner: type | None) -> str:
    if inner is None:
        return ""
    return " ".join((inspect.getdoc(inner) or "").split())
