"""The kinds as structural schemas of Kubernetes: what an API server checks of a document, and `kubectl explain` shows.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema

A schema takes everything that the decoder takes (but null, which stands for a field that is not there), so nothing
that `weft validate` finds well is refused by a cluster. It takes more than the decoder: what a schema cannot say, such
as that a regular expression compiles or that a route is there, weft says itself.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from weft.schema.forms import FORMS
from weft.schema.plans import FieldPlan, choice_of, fields_of
from weft.schema.registry import Kind
from weft.schema.said import said_of
from weft.schema.scalars import AnyValue, Length, OrPairs, Range, Scalar

Schema = dict[str, Any]
_ANYTHING = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_RULES = "x-kubernetes-validations"
_NUMBERS_OR_TEXT = frozenset(("port-or-name", "weight", "written-port"))
_LABELS = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_UNIT = "([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the word of RFC 9110 for a name
PATTERNS: Mapping[str, tuple[str, int]] = {
    "duration": (f"^(0|({_UNIT})+)$", 0),
    "positive-duration": (f"^({_UNIT})+$", 0),
    "gateway-duration": ("^([0-9]{1,5}(h|m|s|ms)){1,4}$", 0),
    "dns-label": ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63),
    "dns-subdomain": (f"^{_LABELS}$", 253),
    "hostname": (rf"^([*][.])?{_LABELS}$", 255),
    "precise-hostname": (f"^{_LABELS}$", 253),
    "trust-domain": ("^[a-z0-9._-]+$", 255),
    "header-name": (f"^{_TOKEN}$", 256),
    "cookie-name": (f"^{_TOKEN}$", 256),
    "https-url": ("^https?://", 2048),
    "url-path": ("^/", 1024),
    "refusal-status": ("^[45][0-9][0-9]$", 0),
    "header-value": ("", 16384),
    "regex": ("", 1024),
}
"""By form of a text: the pattern in RE2 that it has, and how many characters at most (0: as many as there are)."""
_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def kind_schema(kind: Kind) -> Schema:
    """The schema of a kind's documents, of any of its versions; its fields stand in ``spec``."""
    spec = _object_schema(kind.spec, ())
    needed = "required" in spec or _RULES in spec
    status = {"type": "object", "description": "What became of the document: weft's.", _ANYTHING: True}
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
        "status": status,
    }
    first = _words(inspect.getdoc(kind.spec) or "").partition("\n")[0]
    schema: Schema = {"type": "object", "description": first}
    return schema | {"properties": properties} | ({"required": ["spec"]} if needed else {})


def _object_schema(cls: type, above: tuple[type, ...]) -> Schema:
    """The schema of a dataclass, with its docstring; within itself it may have any fields."""
    schema: Schema = {"type": "object", "description": _words(inspect.getdoc(cls) or "")}
    if cls in above:
        return schema | {_ANYTHING: True}
    properties: dict[str, Schema] = {}
    for plan in fields_of(cls):
        for name in (plan.json, *plan.aliases):
            properties[name] = _field_schema(plan, (*above, cls))
    for name, reason in said_of(cls).no_effect.items():
        properties[name] = {_ANYTHING: True, "description": f"No effect in weft: {reason}"}
    if properties:  # an API server drops an empty one, and then finds that another applier's differs
        schema["properties"] = properties
    if required := [plan.json for plan in fields_of(cls) if plan.required and not plan.aliases]:
        schema["required"] = required
    if (choice := _choice_rule(cls)) is not None:
        schema[_RULES] = [choice]
    return schema


def _choice_rule(cls: type) -> Schema | None:
    """That only one of some fields is set, in CEL, which can say it in words."""
    choice = choice_of(cls)
    if choice is None:
        return None
    names = [plan.json for plan in fields_of(cls) if plan.name in choice.fields]
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    how = "==" if choice.required else "<="
    message = f"{'exactly' if choice.required else 'at most'} one of {', '.join(names)}"
    return {"rule": f"{count} {how} 1", "message": message}


def _field_schema(plan: FieldPlan, above: tuple[type, ...]) -> Schema:
    schema = _schema(plan.hint, above)
    if plan.default == "" and schema.get("type") == "string":
        schema = _or_empty(schema)
    default = _default_words(plan)
    words = [schema.get("description", ""), f"Default: {default}." if default else ""]
    if told := " ".join(word for word in words if word):
        schema = {**schema, "description": told}
    return schema


def _or_empty(schema: Schema) -> Schema:
    """The text may be empty, too, which stands for none."""
    schema = {key: value for key, value in schema.items() if key != "minLength"}
    if "pattern" in schema:
        schema["pattern"] = f"^$|{schema['pattern']}"
    if "enum" in schema and "" not in schema["enum"]:
        schema["enum"] = ["", *schema["enum"]]
    return schema


def _default_words(plan: FieldPlan) -> str:
    value = plan.default
    if plan.required or isinstance(value, bool) or not isinstance(value, int | float | str):
        return str(value).lower() if isinstance(value, bool) and not plan.required else ""
    form = _scalar(plan.hint)
    unit = "s" if isinstance(value, float) and form is not None and "duration" in form.form else ""
    return f"{value:g}{unit}" if isinstance(value, float) else str(value)


def _scalar(hint: Any) -> Scalar | None:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, Scalar)), None)


def _schema(hint: Any, above: tuple[type, ...]) -> Schema:
    """The schema of a type as the kinds write it (see `weft.schema.walk.decoder_of`)."""
    origin, arguments = get_origin(hint), get_args(hint)
    schema: Schema
    if origin is Annotated:
        schema = _annotated_schema(arguments[0], arguments[1:], above)
    elif origin is Literal:
        schema = _literal_schema(arguments)
    elif origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        schema = _schema(inner, above)
    elif origin is tuple:
        schema = {"type": "array", "items": _schema(arguments[0], above)}
    elif origin is not None and issubclass(origin, Mapping):
        schema = {"type": "object", "additionalProperties": _schema(arguments[1], above)}
    elif hint is AnyValue:
        schema = {_ANYTHING: True}
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        schema = _object_schema(hint, above)
    else:
        schema = dict(_PLAIN[hint])
    return schema


def _literal_schema(choices: tuple[object, ...]) -> Schema:
    named: Mapping[type, str] = {bool: "boolean", int: "integer", str: "string"}
    return {"type": named[type(choices[0])], "enum": list(choices)}


def _annotated_schema(base: Any, marks: tuple[object, ...], above: tuple[type, ...]) -> Schema:
    if OrPairs() in marks:
        return {_ANYTHING: True}
    scalar = next((mark for mark in marks if isinstance(mark, Scalar)), None)
    schema = _form_schema(scalar.form) if scalar is not None else _schema(base, above)
    for mark in marks:
        if isinstance(mark, Range) and schema.get("type") in ("integer", "number"):
            whole = schema["type"] == "integer"
            schema |= {
                "minimum": int(mark.low) if whole else mark.low,
                "maximum": int(mark.high) if whole else mark.high,
            }
        elif isinstance(mark, Length):
            unit = "Items" if schema["type"] == "array" else "Length"
            schema |= {f"min{unit}": mark.low, f"max{unit}": mark.high}
    return schema


def _form_schema(name: str) -> Schema:
    if name in _NUMBERS_OR_TEXT:
        return {_INT_OR_STRING: True}
    schema: Schema = {"type": "string", "description": f"{FORMS[name].expected[:1].upper()}{FORMS[name].expected[1:]}."}
    pattern, most = PATTERNS.get(name, ("", 0))
    return schema | ({"pattern": pattern} if pattern else {}) | ({"maxLength": most} if most else {})


def _words(text: str) -> str:
    """A docstring as plain text: links are their words, paragraphs stay, lines do not."""
    paragraphs = re.split(r"\n\s*\n|\n(?=\* )", _LINK.sub(r"\1", text).replace("``", "`"))
    return "\n".join(" ".join(each.split()) for each in paragraphs if each.strip())
