"""Patterns as Envoy's matchers: what a name from a document may be compared with, and how.

A name is compared exactly, or as a beginning or an end of the whole SPIFFE URI; it is never part of an expression. The
only expressions are constants, path templates, whose literal parts are escaped, and what a user wrote as an expression.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.access.policy import Pattern, PatternKind
from weft.xds.messages import regex

SPIFFE = "spiffe://"
NOT_EMPTY = "(?s).+"
TOKENS = "envoy.filters.http.jwt_authn"
"""Where what a valid token says is found in a request's metadata, and under which key."""
PAYLOAD = "payload"
_NESTED = 200
"""So many bytes of a text stand in one expression: RE2 nests a thousand groups and no more."""
_OPERATORS = {"{*}": "[^/]+", "{**}": ".*"}
"""The parts of a path template that stand for others: a segment, and anything."""


def text(pattern: Pattern, before: str = "", *, ignore_case: bool = False) -> StringMatcher:
    """A text that fits `pattern`, where what is compared has `before` in front."""
    if pattern.kind is PatternKind.PRESENT:
        return StringMatcher(prefix=before) if before else StringMatcher(safe_regex=regex(NOT_EMPTY))
    if pattern.kind is PatternKind.EXACT:
        return StringMatcher(exact=before + pattern.value, ignore_case=ignore_case)
    if pattern.kind is PatternKind.PREFIX:
        return StringMatcher(prefix=before + pattern.value, ignore_case=ignore_case)
    if pattern.kind is PatternKind.SUFFIX:
        return StringMatcher(suffix=pattern.value, ignore_case=ignore_case)
    if pattern.kind is PatternKind.REGEX:
        return StringMatcher(safe_regex=regex(pattern.value))
    raise ValueError(f"{pattern.kind} is no pattern of a text")


def other_than(pattern: Pattern) -> list[StringMatcher]:
    """What no text fits that fits `pattern`, and every other text one of. None for an expression.

    Envoy asks of a header that is sent twice whether one value fits; with this, whether there is another one. RE2 has
    no complement of an expression, so it is spelt: the text ends early, or has another byte, or the same one and then…
    """
    if pattern.kind is PatternKind.PRESENT:
        return [StringMatcher(exact="")]
    if pattern.kind is PatternKind.EXACT and not pattern.value:
        return [StringMatcher(safe_regex=regex(NOT_EMPTY))]
    text = pattern.value.encode()
    if pattern.kind is PatternKind.SUFFIX:
        ends = range(len(text), 0, -_NESTED)
        found = [_not_before(text[max(0, end - _NESTED) : end]) + _bytes(text[end:]) for end in ends]
    elif pattern.kind in (PatternKind.EXACT, PatternKind.PREFIX):
        starts, rest = range(0, len(text), _NESTED), ".+" if pattern.kind is PatternKind.EXACT else ""
        found = [
            _bytes(text[:start])
            + _not_after(text[start : start + _NESTED], rest if start + _NESTED >= len(text) else "")
            for start in starts
        ]
    else:
        found = []
    return [StringMatcher(safe_regex=regex(f"(?s){each}")) for each in found]


def _not_after(text: bytes, rest: str) -> str:
    """What does not begin with `text`, or goes on with `rest`."""
    for byte in reversed(text):
        sign = _bytes(bytes((byte,)))
        rest = f"(?:[^{sign}].*|{sign}{rest})?" if rest else f"(?:[^{sign}].*)?"
    return rest


def _not_before(text: bytes) -> str:
    """What does not end with `text`."""
    rest = ""
    for byte in text:
        sign = _bytes(bytes((byte,)))
        rest = f"(?:.*[^{sign}]|{rest}{sign})?" if rest else f"(?:.*[^{sign}])?"
    return rest


def _bytes(text: bytes) -> str:
    """These very bytes in an expression, of which Envoy matches bytes."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\x{byte:02x}" for byte in text)


def path(pattern: Pattern) -> PathMatcher:
    """A path without query that fits `pattern`. Envoy's own template matcher is not used: it knows fewer characters
    than there are in paths, so a path with another one would pass a rule that denies."""
    if pattern.kind is PatternKind.TEMPLATE:
        return PathMatcher(path=StringMatcher(safe_regex=regex(_template(pattern.value))))
    return PathMatcher(path=text(pattern))


def network(pattern: Pattern) -> CidrRange:
    """The addresses of `pattern`."""
    found = ipaddress.ip_network(pattern.value, strict=False)
    return CidrRange(address_prefix=str(found.network_address), prefix_len=UInt32Value(value=found.prefixlen))


def claim(key: Iterable[str], patterns: Iterable[StringMatcher]) -> MetadataMatcher:
    """A claim of the request's token that is a text, or a list with a text, that fits one of `patterns`."""
    texts = [ValueMatcher(string_match=each) for each in patterns]
    lists = [ValueMatcher(list_match=ListMatcher(one_of=each)) for each in texts]
    steps = [MetadataMatcher.PathSegment(key=part) for part in (PAYLOAD, *key)]
    return MetadataMatcher(
        filter=TOKENS, path=steps, value=ValueMatcher(or_match=OrMatcher(value_matchers=[*texts, *lists]))
    )


def _template(template: str) -> str:
    """A path template as an expression that the whole path has to match."""
    parts = re.split(r"(\{\*{1,2}\})", template)
    return "(?s)" + "".join(_OPERATORS[part] if part in _OPERATORS else _literal(part) for part in parts)


def _literal(part: str) -> str:
    return re.sub(r"([!-.:-@\[-`{-~])", r"\\\1", part)
