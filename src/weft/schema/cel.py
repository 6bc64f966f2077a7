"""CEL expressions as Envoy reads them in filters of access logs: syntax, functions and attributes, checked beforehand.

https://github.com/google/cel-spec/blob/master/doc/langdef.md and
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes

Envoy refuses a whole listener for an expression that it cannot read, and calls one that names an attribute nobody has
false for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import re2  # type: ignore[import-untyped]  # ships no types


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_LENGTH = 4096
_MAX_DEPTH = 32
_CERTIFICATES = (
    "tls_version subject_local_certificate subject_peer_certificate dns_san_local_certificate "
    "dns_san_peer_certificate uri_san_local_certificate uri_san_peer_certificate sha256_peer_certificate_digest "
    "transport_failure_reason "
)
ATTRIBUTES: Mapping[str, frozenset[str]] = {
    root: _words(names)
    for root, names in {
        "request": "path url_path host scheme method headers referer useragent time id protocol query duration size "
        "total_size",
        "response": "code code_details flags grpc_status headers trailers size total_size backend_latency",
        "connection": _CERTIFICATES + "id mtls requested_server_name termination_details",
        "upstream": _CERTIFICATES + "address port local_address request_attempt_count cx_pool_ready_duration locality",
        "source": "address port",
        "destination": "address port",
        "metadata": "filter_metadata typed_filter_metadata",
        "filter_state": "",
        "upstream_filter_state": "",
        "xds": "node cluster_name cluster_metadata listener_direction listener_metadata route_name route_metadata "
        "upstream_host_metadata filter_chain_name virtual_host_name virtual_host_metadata",
    }.items()
}
"""The attributes below each root; empty where they are named by others."""
_FUNCTIONS = _words("size matches int uint double bytes timestamp duration type dyn")
_METHODS = _words(
    "size matches contains startsWith endsWith getFullYear getMonth getDate getDayOfMonth getDayOfWeek "
    "getDayOfYear getHours getMinutes getSeconds getMilliseconds"
)
_MACROS = frozenset(("all", "exists", "exists_one", "map", "filter"))
_RESERVED = _words(
    "as break const continue else for function if import let loop package namespace return var void while"
)
_TYPES = _words("int uint double bool string bytes list map null_type type")
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<number>0x[0-9a-fA-F]+u?|\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+u?)
    |(?P<text>[bB]?[rR]?(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_BINARY = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class CelError(ValueError):
    """The expression cannot be read by Envoy, or can never be true."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def check_expression(text: str) -> None:
    """Raises CelError if Envoy would refuse the expression, or would not know an attribute in it."""
    if not text.strip():
        raise CelError("empty")
    if len(text) > MAX_LENGTH:
        raise CelError(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(tuple(_tokens(text)))
    parser.expression(0)
    if parser.token.kind != "end":
        raise parser.unexpected()


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise CelError(f"unexpected {text[place]!r} at position {place + 1}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), place)
        place = match.end()
    yield _Token("end", "the end", place)


class _Parser:
    """Recursive descent, as deep as it may be nested."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._tokens = tokens
        self._next = 0

    @property
    def token(self) -> _Token:
        """The next one."""
        return self._tokens[self._next]

    def unexpected(self) -> CelError:
        """The next token may not stand here."""
        found = self.token.text if self.token.kind == "end" else f"'{self.token.text[:40]}'"
        return CelError(f"unexpected {found} at position {self.token.place + 1}")

    def expression(self, depth: int) -> None:
        """A condition with its two results, or anything below."""
        if depth > _MAX_DEPTH:
            raise CelError(f"nested more than {_MAX_DEPTH} deep")
        self._binary(0, depth)
        if self._take("?"):
            self._binary(0, depth)
            self._expect(":")
            self.expression(depth + 1)

    def _binary(self, level: int, depth: int) -> None:
        if level == len(_BINARY):
            self._unary(depth)
            return
        self._binary(level + 1, depth)
        while self.token.kind in ("sign", "name") and self.token.text in _BINARY[level]:
            self._next += 1
            self._binary(level + 1, depth)

    def _unary(self, depth: int) -> None:
        while self._take("!") or self._take("-"):
            pass
        self._member(depth)

    def _member(self, depth: int) -> None:
        path = self._primary(depth)
        while True:
            if self._take("."):
                name = self._name()
                if self._take("("):
                    self._call(name, _METHODS, depth)
                    path = None
                else:
                    path = (*path, name) if path is not None else None
                    _known(path)
            elif self._take("["):
                if path is not None and len(path) == 1 and ATTRIBUTES.get(path[0]):
                    self._next += self.token.kind == "text" and _known((path[0], _unquoted(self.token.text)))
                if self.token.text != "]":
                    self.expression(depth + 1)
                self._expect("]")
                path = None
            else:
                return

    def _primary(self, depth: int) -> tuple[str, ...] | None:
        """What stands first; the root and name of an attribute, if it is one."""
        if self._value(depth):
            return None
        self._take(".")
        name = self._name()
        if self._take("("):
            if name == "has":
                self.expression(depth + 1)
                self._expect(")")
            else:
                self._call(name, _FUNCTIONS, depth)
            return None
        if name in ("true", "false", "null") or name in _TYPES:
            return None
        if name not in ATTRIBUTES:
            raise CelError(f"there is no attribute '{name}': they begin with {', '.join(sorted(ATTRIBUTES))}")
        return (name,)

    def _value(self, depth: int) -> bool:
        """A number, a text, an expression in parentheses, a list or a map, if one of them stands here."""
        if self.token.kind in ("number", "text"):
            self._next += 1
        elif self._take("("):
            self.expression(depth + 1)
            self._expect(")")
        elif self._take("["):
            self._list("]", depth, pairs=False)
        elif self._take("{"):
            self._list("}", depth, pairs=True)
        else:
            return False
        return True

    def _call(self, name: str, known: frozenset[str], depth: int) -> None:
        if name in _MACROS:
            raise CelError(f"'{name}' goes over a list, which Envoy does not do")
        if name not in known:
            raise CelError(f"there is no function '{name}': there are {', '.join(sorted(known))}")
        first = self.token
        if not self._take(")"):
            self._list(")", depth, pairs=False)
            if name == "matches" and first.kind == "text" and known is _METHODS:
                _regular(_unquoted(first.text))

    def _list(self, end: str, depth: int, *, pairs: bool) -> None:
        while not self._take(end):
            self.expression(depth + 1)
            if pairs:
                self._expect(":")
                self.expression(depth + 1)
            if not self._take(","):
                self._expect(end)
                return

    def _name(self) -> str:
        token = self.token
        if token.kind != "name" or token.text in _RESERVED or token.text == "in":
            raise self.unexpected()
        self._next += 1
        return token.text

    def _take(self, sign: str) -> bool:
        found = self.token.kind == "sign" and self.token.text == sign
        self._next += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self.unexpected()


def _known(path: tuple[str, ...] | None) -> bool:
    """Raises CelError for an attribute that its root does not have."""
    if path is not None and len(path) == 2 and ATTRIBUTES[path[0]] and path[1] not in ATTRIBUTES[path[0]]:
        names = ", ".join(sorted(ATTRIBUTES[path[0]]))
        raise CelError(f"'{path[0]}' has no '{path[1]}': it has {names}")
    return True


def _unquoted(text: str) -> str:
    return text.lstrip("bBrR").strip("'\"")


def _regular(pattern: str) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise CelError(f"the regular expression '{pattern[:80]}' cannot be read") from error
