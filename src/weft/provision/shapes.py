"""Shapes: which fields a text of parameters may have, and what is wrong with one that has others.

What is not in a shape is refused: a field that is refused for a reason with it, another one as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from weft.model.origin import FieldPath
from weft.schema.findings import Finding, duplicate
from weft.schema.wording import nearest_name, shown
from weft.schema.yaml_nodes import Node

PATCH = "$patch"
DELETE = "delete"
"""In an entry of a list that is merged: the one of this key goes."""
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?")
_PERCENT = re.compile(r"[0-9]{1,3}%")
_MOST = 2**31 - 1
_LARGEST = 2**63 - 1
"""The largest quantity that Kubernetes counts. JSON has no infinity."""

Reason = Callable[[str], str]


def _no_reason(_: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: text, integer, boolean, quantity (192Mi), share (a number, or 25%). `choices`: no other text;
    `refused` says why one is not taken; integers are from `lowest` to `most`."""

    kind: str
    choices: tuple[str, ...] = ()
    lowest: int = 0
    most: int = _MOST
    refused: Reason = _no_reason

    @property
    def kept(self) -> bool:
        """Whether null does not take it away: there is but one text that it can be."""
        return len(self.choices) == 1


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by name, as labels are. `refused` says why a name is not taken."""

    refused: Reason = _no_reason
    each: Leaf = field(default_factory=lambda: Leaf("text"))

    @property
    def kept(self) -> bool:
        """Whether null does not take all of them away: some are weft's."""
        return self.refused is not _no_reason


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields by name. `kept`: null does not take it away, for weft needs it. `refused`: why others are not taken."""

    fields: Mapping[str, Shape]
    refused: Mapping[str, str] = field(default_factory=dict)
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list. With a `key` its entries are merged by these fields, the first of which has to be there; `lasting`
    entries cannot be taken away. Without, a list replaces a list."""

    each: Shape
    key: tuple[str, ...] = ()
    kept: bool = False
    lasting: bool = False


Shape = Leaf | Texts | Fields | Items


def faults_of(node: Node, shape: Shape, path: FieldPath = ()) -> Iterator[Finding]:
    """Everything that keeps a value from being of a shape."""
    value = node.value
    if value is None:
        if shape.kept:
            yield Finding(path, "found null, and weft needs it", "fields of it")
    elif isinstance(shape, Leaf):
        yield from _of_leaf(value, shape, path)
    elif isinstance(shape, Items):
        yield from _of_items(value, shape, path)
    elif not isinstance(value, dict):
        yield Finding(path, f"found {shown(_plain(value))}", "a mapping")
    elif isinstance(shape, Texts):
        for name, each in value.items():
            why = shape.refused(name)
            if why:
                yield Finding((*path, name), f"parameters cannot set {shown(name)}: {why}", "another name")
            elif each.value is not None:
                yield from _of_leaf(each.value, shape.each, (*path, name))
    else:
        yield from _of_fields(value, shape, path)


def _of_fields(given: Mapping[str, Node], shape: Fields, path: FieldPath) -> Iterator[Finding]:
    for name, each in given.items():
        known = shape.fields.get(name)
        if known is not None:
            yield from faults_of(each, known, (*path, name))
        elif name in shape.refused:
            message = f"parameters cannot set {shown(name)}: {shape.refused[name]}"
            yield Finding((*path, name), message, _among(shape.fields))
        else:
            near = nearest_name(name, shape.fields)
            yield Finding((*path, name), f"unknown field {shown(name)}", _among(shape.fields), near)


def _of_items(value: object, shape: Items, path: FieldPath) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield Finding(path, f"found {shown(_plain(value))}", "a list")
        return
    seen: set[tuple[object, ...]] = set()
    for index, each in enumerate(cast("list[Node]", value)):
        where = (*path, index)
        if each.value is None:
            yield Finding(where, "found nothing", "an entry")
        elif not shape.key or not isinstance(each.value, dict):
            yield from faults_of(each, shape.each, where)
        else:
            yield from _of_entry(each.value, shape, where)
            key = tuple(each.value[name].value if name in each.value else None for name in shape.key)
            if any(isinstance(part, dict | list) for part in key):
                continue  # told as no word, and no key
            if key in seen:
                yield duplicate(where, f"{shown(key[0])} is given twice")
            seen.add(key)


def _of_entry(given: Mapping[str, Node], shape: Items, path: FieldPath) -> Iterator[Finding]:
    """An entry of a list that is merged."""
    first = given.get(shape.key[0])
    if first is None or first.value is None:
        yield Finding(path, f"the field '{shape.key[0]}' is missing", f"'{shape.key[0]}', by which it is merged")
    directive = given.get(PATCH)
    if directive is not None and (directive.value != DELETE or shape.lasting):
        expected = "no directive" if shape.lasting else DELETE
        yield Finding((*path, PATCH), f"found {shown(_plain(directive.value))}", expected)
    rest = {name: each for name, each in given.items() if name != PATCH}
    yield from faults_of(Node(rest, 0, 0), shape.each, path)


def _of_leaf(value: object, shape: Leaf, path: FieldPath) -> Iterator[Finding]:
    expected = _expected(shape)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if shape.kind == "text":
        good = isinstance(value, str) and (not shape.choices or value in shape.choices)
    elif shape.kind == "boolean":
        good = isinstance(value, bool)
    elif shape.kind == "quantity":
        good = _is_quantity(value) if isinstance(value, str) else number and 0 <= cast("float", value) <= _LARGEST
    else:
        whole = isinstance(value, int) and not isinstance(value, bool)
        good = whole and shape.lowest <= cast("int", value) <= shape.most
        good = good or (shape.kind == "share" and isinstance(value, str) and _PERCENT.fullmatch(value) is not None)
    if not good:
        near = nearest_name(value, shape.choices) if isinstance(value, str) and shape.choices else ""
        yield Finding(path, f"found {shown(_plain(value))}", expected, near)
    elif isinstance(value, str) and (why := shape.refused(value)):
        yield Finding(path, f"found {shown(value)}: {why}", "another one")


def _expected(shape: Leaf) -> str:
    if shape.choices:
        return f"one of {', '.join(shape.choices)}"
    above = f" from {shape.lowest}" + (f" to {shape.most}" if shape.most != _MOST else "")
    return {
        "text": "text",
        "boolean": "true or false",
        "quantity": "a quantity such as 100m or 192Mi",
        "integer": f"a whole number{above}",
        "share": f"a whole number{above}, or a percentage such as 25%",
    }[shape.kind]


def _is_quantity(text: str) -> bool:
    return len(text) <= 64 and _QUANTITY.fullmatch(text) is not None


def _among(names: Mapping[str, object]) -> str:
    return f"one of {', '.join(sorted(names))}" if names else "no fields"


def _plain(value: object) -> object:
    """What `shown` understands of a node's value."""
    return {} if isinstance(value, dict) else [] if isinstance(value, list) else value
