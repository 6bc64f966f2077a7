"""Label selectors as kubectl takes them: ``team in (shop, pay), !legacy``.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re

from weft.mesh.policies.selector import Expression, Selector

_KEY = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_EQUAL = re.compile(rf"(?P<key>{_KEY})\s*(?P<how>==?|!=)\s*(?P<value>{_VALUE})")
_LISTED = re.compile(rf"(?P<key>{_KEY})\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)")
_THERE = re.compile(rf"(?P<how>!?)\s*(?P<key>{_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")
_FORMS = "KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY"


class SelectorError(ValueError):
    """A text that is no selector; the message says which part."""


def selector_from_text(text: str) -> Selector:
    """All conditions, with commas between them. SelectorError."""
    if not text.strip():
        raise SelectorError(f"it is empty, which every namespace would match; expected {_FORMS}")
    return Selector(expressions=tuple(_expression(part.strip()) for part in _COMMA.split(text)))


def _expression(part: str) -> Expression:
    if found := _EQUAL.fullmatch(part):
        return Expression(found["key"], "NotIn" if found["how"] == "!=" else "In", (found["value"],))
    if found := _LISTED.fullmatch(part):
        values = tuple(value.strip() for value in found["values"].split(","))
        if not all(value and re.fullmatch(_VALUE, value) for value in values):
            raise SelectorError(f"found '{part[:100]}'; expected values of a label between ( and )")
        return Expression(found["key"], "In" if found["how"] == "in" else "NotIn", values)
    if found := _THERE.fullmatch(part):
        return Expression(found["key"], "DoesNotExist" if found["how"] else "Exists")
    raise SelectorError(f"found '{part[:100]}'; expected {_FORMS}")
