"""The strict walk from YAML nodes to the kinds' dataclasses. It reports everything wrong, not the first thing only."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from weft.model.document import ObjectKey
from weft.model.origin import FieldLines, FieldPath, PathPart
from weft.model.problem import Problem, Severity
from weft.schema.findings import Finding, deprecated, no_effect, printable
from weft.schema.forms import FORMS, FormError
from weft.schema.plans import FieldPlan, choice_of, fields_of, names_of
from weft.schema.said import said_of
from weft.schema.scalars import AnyValue, Length, OrPairs, Range, Scalar
from weft.schema.wording import nearest_name, shown
from weft.schema.yaml_nodes import Node, plain_value

MAX_PROBLEMS = 100
"""Errors told about one document; more would help nobody."""


class _Invalid:
    """Stands for a value that could not be decoded; the problem has been reported."""


INVALID = _Invalid()

Decoder = Callable[["Walk", Node, FieldPath], object]


@dataclasses.dataclass(slots=True)
class Walk:
    """Collects the problems of one document. With `masked`, values never appear in messages."""

    lines: FieldLines
    object: ObjectKey | None = None
    masked: bool = False
    problems: list[Problem] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether an error was reported."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def full(self) -> bool:
        """Whether no more problems are taken."""
        return len(self.problems) >= MAX_PROBLEMS

    def report(self, path: FieldPath, finding: Finding) -> None:
        """Record what is wrong below `path`."""
        if self.full:
            return
        where = (*path, *finding.path)
        message = printable(finding.message)
        if len(self.problems) == MAX_PROBLEMS - 1:
            message += " (and more: not all problems of this document are listed)"
        self.problems.append(
            Problem(
                finding.severity,
                finding.code,
                message,
                self.lines.origin(*where),
                self.object,
                tuple(printable(part) if isinstance(part, str) else part for part in where),
                finding.expected,
                printable(finding.nearest),
            )
        )

    def error(self, path: FieldPath, code: str, message: str, expected: str = "", nearest: str = "") -> _Invalid:
        """Record an error at `path`."""
        self.report((), Finding(path, message, expected, nearest, code))
        return INVALID

    def wrong_type(self, node: Node, path: FieldPath, expected: str) -> _Invalid:
        """Record that the value is of another type."""
        found = self.found(node)
        if isinstance(node.value, str) and not self.masked:
            found = f"the text {found}"
        return self.error(path, "wrong-type", f"found {found}", expected)

    def found(self, node: Node) -> str:
        """The value of `node` for a message."""
        if self.masked and not isinstance(node.value, list | dict):
            return "a value that is not shown"
        if isinstance(node.value, bool) and node.text.lower() not in ("true", "false"):
            return f"'{node.text}' (the boolean {str(node.value).lower()} in YAML)"
        return shown(node.value)


def decode_value(walk: Walk, hint: object, node: Node, path: FieldPath) -> object:
    """The value of `node` as type `hint`, or INVALID."""
    return decoder_of(hint)(walk, node, path)


@functools.cache
def decoder_of(hint: Any) -> Decoder:
    """The decoder of a type as the kinds write it."""
    origin, arguments = get_origin(hint), get_args(hint)
    decoder: Decoder
    if origin is Annotated:
        decoder = _annotated_decoder(arguments[0], arguments[1:])
    elif origin is Literal:
        decoder = _literal_decoder(arguments)
    elif origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        decoder = decoder_of(inner)
    elif origin is tuple:
        decoder = _list_decoder(decoder_of(arguments[0]), None)
    elif origin is not None and issubclass(origin, Mapping):
        decoder = _mapping_decoder(*arguments)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        decoder = functools.partial(_decode_object, hint)
    else:
        decoder = _PLAIN[hint]
    return decoder


def _decode_text(walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, str):
        return node.value
    return walk.wrong_type(node, path, "text" + _quotes_help(node, str))


def _decode_bool(walk: Walk, node: Node, path: FieldPath) -> object:
    return node.value if isinstance(node.value, bool) else walk.wrong_type(node, path, "true or false")


def _decode_int(walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return walk.wrong_type(node, path, "a whole number")


def _decode_float(walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, int | float) and not isinstance(node.value, bool) and math.isfinite(node.value):
        return float(node.value)
    return walk.wrong_type(node, path, "a number")


def _decode_any(_walk: Walk, node: Node, _path: FieldPath) -> object:
    return json.dumps(plain_value(node), sort_keys=True)


_PLAIN: dict[Any, Decoder] = {
    str: _decode_text,
    bool: _decode_bool,
    int: _decode_int,
    float: _decode_float,
    AnyValue: _decode_any,
}


def _annotated_decoder(base: Any, marks: tuple[object, ...]) -> Decoder:
    scalar = next((mark for mark in marks if isinstance(mark, Scalar)), None)
    bounds = next((mark for mark in marks if isinstance(mark, Range)), None)
    length = next((mark for mark in marks if isinstance(mark, Length)), None)
    if scalar is not None:
        inner = _BY_FORM.get(scalar.form) or _form_decoder(scalar.form)
    elif get_origin(base) is tuple:
        return _list_decoder(decoder_of(get_args(base)[0]), length)
    else:
        inner = decoder_of(base)
    if OrPairs() in marks:
        return _pairs_decoder(inner)
    if bounds is not None:
        return _bounded_decoder(inner, bounds)
    return _text_length_decoder(inner, length) if length is not None else inner


def _quotes_help(node: Node, read: Callable[[str], object]) -> str:
    """Advice for a word that YAML takes for a number or boolean and that would be right as text."""
    if not isinstance(node.value, bool | int | float):
        return ""
    try:
        read(node.text)
    except FormError:
        return ""
    return " (put it in quotes)"


def _form_decoder(name: str) -> Decoder:
    form = FORMS[name]

    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        if not isinstance(node.value, str):
            return walk.wrong_type(node, path, form.expected + _quotes_help(node, form.read))
        try:
            return form.read(node.value)
        except FormError as error:
            reason = f" ({error})" if str(error) else ""
            return walk.error(path, "bad-value", f"found {walk.found(node)}{reason}", form.expected)

    return decode


def _decode_port_or_name(walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, int) and not isinstance(node.value, bool) and 1 <= node.value <= 65535:
        return node.value
    if isinstance(node.value, str):
        try:
            return FORMS["dns-label"].read(node.value)
        except FormError:
            pass
    return walk.error(path, "bad-value", f"found {walk.found(node)}", "a port number from 1 to 65535, or a port's name")


def _decode_weight(walk: Walk, node: Node, path: FieldPath) -> object:
    """A whole number, or a quantity such as ``900m`` (thousandths), which comes out as a float."""
    number = node.value[:-1] if isinstance(node.value, str) and node.value.endswith("m") else node.value
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 12:
        return int(number) / (1000 if number != node.value else 1)
    return _decode_int(walk, node, path)


def _decode_written_port(walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, str) and node.value.isascii() and node.value.isdigit() and len(node.value) < 12:
        return int(node.value)
    return _decode_int(walk, node, path)


_BY_FORM: Mapping[str, Decoder] = {
    "port-or-name": _decode_port_or_name,
    "weight": _decode_weight,
    "written-port": _decode_written_port,
}


def _bounded_decoder(inner: Decoder, bounds: Range) -> Decoder:
    expected = f"{bounds.low:g} to {bounds.high:.12g}"

    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        value = inner(walk, node, path)
        if isinstance(value, int | float) and not bounds.low <= value <= bounds.high:
            return walk.error(path, "out-of-range", f"found {walk.found(node)}", expected)
        return value

    return decode


def _text_length_decoder(inner: Decoder, length: Length) -> Decoder:
    expected = f"{length.low} to {length.high} characters"

    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        value = inner(walk, node, path)
        if isinstance(value, str) and not length.low <= len(value) <= length.high:
            return walk.error(path, "out-of-range", f"found {len(value)} characters", expected)
        return value

    return decode


def _literal_decoder(choices: tuple[object, ...]) -> Decoder:
    names = [str(choice) for choice in choices if isinstance(choice, str)]
    told = ["''" if choice == "" else str(choice).lower() if choice is False else str(choice) for choice in choices]
    expected = told[0] if len(told) == 1 else "one of " + ", ".join(told)

    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        for choice in choices:
            if type(choice) is type(node.value) and choice == node.value:
                return choice
        near = nearest_name(node.value, names) if isinstance(node.value, str) and not (walk.masked or walk.full) else ""
        quotes = " (put it in quotes)" if not isinstance(node.value, str) and node.text in names else ""
        return walk.error(path, "bad-value", f"found {walk.found(node)}", expected + quotes, near)

    return decode


def _list_decoder(item: Decoder, length: Length | None) -> Decoder:
    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        if not isinstance(node.value, list):
            return walk.wrong_type(node, path, "a list")
        values = [item(walk, child, (*path, index)) for index, child in enumerate(node.value)]
        if length is not None and not length.low <= len(values) <= length.high:
            expected = f"{length.low} to {length.high} items"
            return walk.error(path, "out-of-range", f"found a list of {len(values)} items", expected)
        return INVALID if any(value is INVALID for value in values) else tuple(values)

    return decode


def _mapping_decoder(key_hint: Any, value_hint: Any) -> Decoder:
    key_decoder, value_decoder = decoder_of(key_hint), decoder_of(value_hint)
    numeric = key_hint is int or get_args(key_hint)[:1] == (int,)

    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        if not isinstance(node.value, dict):
            return walk.wrong_type(node, path, "a mapping")
        values = {}
        for name, child in node.value.items():
            where = (*path, name)
            number = numeric and name.isascii() and name.isdigit() and len(name) < 12
            key = key_decoder(walk, Node(int(name) if number else name, child.line, child.column, name), where)
            value = value_decoder(walk, child, where)
            values[key] = value
        return INVALID if INVALID in values or any(each is INVALID for each in values.values()) else values

    return decode


def _pairs_decoder(inner: Decoder) -> Decoder:
    def decode(walk: Walk, node: Node, path: FieldPath) -> object:
        if not isinstance(node.value, list):
            return inner(walk, node, path)
        found: dict[str, Node] = {}
        for index, child in enumerate(node.value):
            if not isinstance(child.value, dict):
                return walk.wrong_type(child, (*path, index), "a mapping")
            for name, value in child.value.items():
                if name in found:
                    return walk.error((*path, index, name), "duplicate-field", f"{shown(name)} is given twice")
                found[name] = value
        return inner(walk, dataclasses.replace(node, value=found), path)

    return decode


def _decode_object(cls: type, walk: Walk, node: Node, path: FieldPath) -> object:
    if not isinstance(node.value, dict):
        return walk.wrong_type(node, path, "a mapping")
    return _foreign(cls, walk, node.value, path) or decode_fields(cls, walk, node.value, path)


_OF_API = ("group", "kind")


def _foreign(cls: type, walk: Walk, entries: Mapping[str, Node], path: FieldPath) -> _Invalid | None:
    """A reference to a kind of another API is one mistake, whatever else is wrong with it."""
    plans, group, kind = names_of(cls), entries.get("group"), entries.get("kind")
    if group is None or kind is None or not plans.keys() >= set(_OF_API):
        return None
    groups, kinds = (get_args(plans[name].hint) if get_origin(plans[name].hint) is Literal else () for name in _OF_API)
    words = isinstance(group.value, str) and isinstance(kind.value, str)
    known = group.value in (*groups, "core") or kind.value in kinds
    if not words or known or not groups or not kinds:
        return None
    message = f"{printable(str(kind.value)[:80])} of {printable(str(group.value)[:80])} cannot be referred to here"
    return walk.error((*path, "kind"), "bad-value", message, f"kind {' or '.join(map(str, kinds))}")


def decode_fields(cls: type, walk: Walk, entries: Mapping[str, Node], path: FieldPath) -> object:
    """A `cls` from the entries of a mapping, or INVALID."""
    values: dict[str, Any] = {}
    spelled: dict[PathPart, PathPart] = {}
    unknown = False
    plans, idle = names_of(cls), said_of(cls).no_effect
    for key, child in entries.items():
        plan = plans.get(key)
        if plan is None and key not in idle:
            _unknown_field(cls, walk, key, (*path, key))
            unknown = True
        elif plan is None:
            continue
        elif child.value is not None:
            spelled[plan.json] = key
            if plan.name in values:
                values[plan.name] = walk.error((*path, key), "duplicate-field", f"'{plan.json}' is given twice")
            else:
                values[plan.name] = _decode_field(cls, plan, walk, child, (*path, key))
    _without_effect(walk, idle, [key for key in entries if key in idle], path)
    for plan in fields_of(cls):
        if plan.required and plan.name not in values and not _stands_for(cls, entries, plan):
            values[plan.name] = walk.error(path, "missing-field", f"the field '{plan.json}' is missing")
    chosen = _one_is_chosen(cls, walk, values, path)
    if unknown or not chosen or any(value is INVALID for value in values.values()):
        return INVALID
    return _checked(walk, cls(**values), path, spelled)


def _stands_for(cls: type, entries: Mapping[str, Node], plan: FieldPlan) -> bool:
    """Whether the missing field only follows from an error that has been told: it is misspelt, or something that is
    not supported stands in its place."""
    plans, unsupported = names_of(cls), said_of(cls).unsupported
    others = [key for key in entries if key not in plans]
    names = [each.json for each in fields_of(cls)]
    return any(key in unsupported or nearest_name(key, names) == plan.json for key in others)


def _decode_field(cls: type, plan: FieldPlan, walk: Walk, node: Node, path: FieldPath) -> object:
    if isinstance(node.value, str):
        if node.value == "core" and plan.json == "group" and _takes_core(plan.hint):
            walk.report((), deprecated(path, "the core group is written ''", "''"))
            node = dataclasses.replace(node, value="", text="")
        if not node.value and plan.default == "":
            return ""
        reason = said_of(cls).unsupported_values.get(plan.json, {}).get(str(node.value))
        if reason is not None:
            return walk.error(path, "unsupported-value", f"'{node.value}' is not supported by weft{reason or ' yet'}")
    return decoder_of(plan.hint)(walk, node, path)


def _takes_core(hint: Any) -> bool:
    """Whether an API group may be the core group."""
    marks = get_args(hint)
    return "" in marks or Scalar("api-group") in marks


def _without_effect(walk: Walk, reasons: Mapping[str, str], keys: Sequence[str], path: FieldPath) -> None:
    """One warning for each reason why fields that the kind does not have are taken all the same."""
    for reason in dict.fromkeys(reasons[key] for key in keys):
        names = [key for key in keys if reasons[key] == reason]
        told = ", ".join(f"'{name}'" for name in names)
        verb = "has" if len(names) == 1 else "have"
        walk.report(path, no_effect((names[0],), f"{told} {verb} no effect in weft: {reason}"))


def _unknown_field(cls: type, walk: Walk, key: str, path: FieldPath) -> _Invalid:
    reason = said_of(cls).unsupported.get(key)
    if reason is not None:
        return walk.error(path, "unsupported-field", f"'{key}' is not supported by weft{reason or ' yet'}")
    if walk.full:
        return INVALID
    names = [plan.json for plan in fields_of(cls)]
    expected = "one of " + ", ".join(names) if names else "no field here"
    return walk.error(path, "unknown-field", f"unknown field {shown(key)}", expected, nearest_name(key, names))


def _one_is_chosen(cls: type, walk: Walk, values: Mapping[str, object], path: FieldPath) -> bool:
    choice = choice_of(cls)
    if choice is None:
        return True
    names = {plan.name: plan.json for plan in fields_of(cls) if plan.name in choice.fields}
    given = [names[name] for name in choice.fields if name in values]
    told = ", ".join(names[name] for name in choice.fields)
    if len(given) > 1:
        walk.error(path, "conflicting-fields", f"{' and '.join(given)} exclude each other", f"one of {told}")
        return False
    if choice.required and not given:
        walk.error(path, "missing-field", "one field is needed", f"one of {told}")
        return False
    return True


def _checked(walk: Walk, value: object, path: FieldPath, spelled: Mapping[PathPart, PathPart]) -> object:
    """`value` in its normal form, after the rules of its type spoke; `spelled` is how its fields are written."""
    normalise = said_of(type(value)).normalise
    if normalise is not None:
        value, findings = normalise(value)
        for finding in findings:
            first = tuple(spelled.get(part, part) for part in finding.path[:1])
            walk.report((*path, *first), dataclasses.replace(finding, path=finding.path[1:]))
    for rule in said_of(type(value)).rules:
        for finding in rule(value):
            walk.report(path, finding)
    return value
