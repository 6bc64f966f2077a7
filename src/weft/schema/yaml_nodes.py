"""YAML and JSON text to a tree of values in which every field knows its line, within limits on size and depth.

Scalars are resolved as Kubernetes does (YAML 1.1 booleans, no dates, no base 60). Aliases are counted at their full
size, so that a small text cannot stand for a large tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import yaml

from weft.model.origin import FieldLines, FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.schema.findings import printable

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 200_000

# What stood there is not told: it may be a password that begins with one of these characters.
_BAD_TAG = "a tag ('!...') is not allowed; put quotes around text that begins with '!'"
_BAD_ALIAS = "an alias ('*...') that names no anchor above it; put quotes around text that begins with '*'"

Value = str | int | float | bool | None | list["Node"] | dict[str, "Node"]

_SEPARATOR = re.compile(r"^(?:---(?=\s|\Z)|\.\.\.(?:[ \t].*)?\r?\n)", re.MULTILINE)
_BLANK = re.compile(r"(?:[ \t]*(?:[#%].*)?(?:\r?\n|\Z))*")
_UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JSON_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0o?[0-7]+|0b[01]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS: dict[str, bool | float] = {
    spelling: value
    for word, value in (
        ("true", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("off", False),
        (".inf", float("inf")), ("+.inf", float("inf")), ("-.inf", float("-inf")), (".nan", float("nan")),
    )
    for spelling in (word, word.capitalize(), word.upper())
}  # fmt: skip
_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))


@dataclass(slots=True)
class Node:
    """A value and where it stands: the line of its key, or of the list item. `text` is a scalar as written; `size` and
    `height` count what an alias to it stands for."""

    value: Value
    line: int
    column: int
    text: str = ""
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a text. With `problems` it must not be accepted; `root` is None when nothing could be read."""

    root: Node | None
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being read."""

    node: Node
    anchor: str | None
    key: Node | None = None
    merged: list[Node] = field(default_factory=list)


class _RefusedError(Exception):
    def __init__(self, code: str, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.code, self.message, self.line, self.column = code, message, line, column


def parse_documents(text: str, source: str, *, most: int = MAX_NODES, nulls: bool = False) -> Iterator[YamlDocument]:
    """Every document of `text`. One that cannot be read, or has more than `most` values, gives a Problem and does not
    hide those after it. `nulls`: also those that are null in a word."""
    first_line = 1
    for chunk in _chunks(text):
        if _BLANK.fullmatch(chunk) is None:
            yield from _parse_chunk(chunk, _Reader(source, first_line - 1, most, nulls))
        first_line += chunk.count("\n")


def field_lines(root: Node, source: str) -> FieldLines:
    """The line of every field below `root`, by path."""
    lines: dict[FieldPath, int] = {}
    pending: list[tuple[FieldPath, Node]] = [((), root)]
    while pending:
        path, node = pending.pop()
        lines[path] = node.line
        if isinstance(node.value, dict):
            pending.extend(((*path, key), child) for key, child in node.value.items())
        elif isinstance(node.value, list):
            pending.extend(((*path, index), child) for index, child in enumerate(node.value))
    return FieldLines(source, lines)


def plain_value(node: Node) -> object:
    """The bare value of `node`: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain_value(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain_value(child) for child in node.value]
    return node.value


def _chunks(text: str) -> Iterator[str]:
    """`text` cut before each ``---`` line and after each ``...`` line: such lines can never be inside a document."""
    start = 0
    for match in _SEPARATOR.finditer(text):
        end = match.start() if match.group().startswith("-") else match.end()
        if end > start:
            yield text[start:end]
            start = end
    yield text[start:]


def _parse_chunk(chunk: str, reader: _Reader) -> Iterator[YamlDocument]:
    def refused(code: str, message: str, line: int, column: int) -> YamlDocument:
        origin = Origin(reader.source, line + reader.offset, column)
        return YamlDocument(None, (Problem(Severity.ERROR, code, printable(message), origin),))

    if len(chunk) > MAX_DOCUMENT_BYTES or len(chunk.encode("utf-8", "replace")) > MAX_DOCUMENT_BYTES:
        yield refused("too-large", f"the document is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB", 1, 0)
        return
    bad = _UNPRINTABLE.search(chunk)
    if bad is not None:
        line = chunk.count("\n", 0, bad.start()) + 1
        column = bad.start() - chunk.rfind("\n", 0, bad.start())
        yield refused("syntax", f"character U+{ord(bad.group()):04X} is not allowed in YAML", line, column)
        return
    if chunk.lstrip().startswith(("{", "[")):
        chunk = _JSON_ESCAPE.sub(_joined_surrogates, chunk)
    try:
        yield from reader.read(chunk)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 0)
        yield refused("syntax", _syntax_message(error), line, column)
    except yaml.YAMLError as error:
        yield refused("syntax", str(error), 1, 0)
    except _RefusedError as error:
        yield refused(error.code, error.message, error.line, error.column)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "cannot start any token" in problem:
        problem += " (a tab? YAML is indented with spaces; quote values that start with @, ` or %)"
    return f"not valid YAML: {problem} {error.context}" if error.context else f"not valid YAML: {problem}"


def _joined_surrogates(match: re.Match[str]) -> str:
    """JSON writes characters beyond U+FFFF as two escapes, which YAML does not know."""
    high, low = match.group(1), match.group(2)
    if not high:
        return match.group()
    return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00))


class _Reader:
    """Builds the trees of one chunk from the parser's events, without recursion."""

    def __init__(self, source: str, line_offset: int, most: int, nulls: bool) -> None:
        self.source = source
        self.offset = line_offset
        self._most = most
        self._nulls = nulls
        self._reset()

    def _reset(self) -> None:
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._problems: list[Problem] = []
        self._count = 0
        self._root: Node | None = None

    def read(self, chunk: str) -> Iterator[YamlDocument]:
        for event in yaml.parse(chunk, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                self._add(event, Node(_scalar(event), *self._place(event), event.value))
            elif isinstance(event, yaml.AliasEvent):
                self._add(event, self._alias(event))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._start(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._end(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                if self._root is not None and self._is_told(self._root):
                    yield YamlDocument(self._root, tuple(self._problems))
                self._reset()

    def _is_told(self, root: Node) -> bool:
        return root.value is not None or (self._nulls and bool(root.text))

    def _place(self, event: yaml.Event) -> tuple[int, int]:
        line, column = _mark(event)
        return line + self.offset, column

    def _refuse(self, event: yaml.Event, code: str, message: str) -> _RefusedError:
        return _RefusedError(code, message, *_mark(event))

    def _counted(self, event: yaml.Event, size: int, depth: int) -> None:
        self._count += size
        if self._count > self._most:
            raise self._refuse(event, "too-large", f"the document has more than {self._most} values, aliases expanded")
        if depth > MAX_DEPTH:
            raise self._refuse(event, "too-large", f"the document is nested deeper than {MAX_DEPTH} levels")

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if event.tag is not None and event.tag not in _TAGS:
            raise self._refuse(event, "syntax", _BAD_TAG)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._counted(event, 1, len(self._stack) + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(Node({} if mapping else [], *self._place(event)), event.anchor))

    def _end(self, event: yaml.Event) -> None:
        frame = self._stack.pop()
        for merged in frame.merged:
            entries = cast(dict[str, Node], frame.node.value)
            for key, child in cast(dict[str, Node], merged.value).items():
                if key not in entries:
                    entries[key] = child
                    frame.node.size += child.size
                    frame.node.height = max(frame.node.height, child.height + 1)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = frame.node
        self._attach(event, frame.node)

    def _alias(self, event: yaml.AliasEvent) -> Node:
        if event.anchor not in self._anchors:
            raise self._refuse(event, "syntax", _BAD_ALIAS)
        target = self._anchors[event.anchor]
        if target is None:
            raise self._refuse(event, "syntax", "the alias refers to itself")
        return Node(target.value, *self._place(event), target.text, target.size, target.height)

    def _add(self, event: yaml.ScalarEvent | yaml.AliasEvent, node: Node) -> None:
        self._counted(event, node.size, len(self._stack) + node.height)
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None and event.tag not in _TAGS:
                raise self._refuse(event, "syntax", _BAD_TAG)
            if event.anchor is not None:
                self._anchors[event.anchor] = node
        self._attach(event, node)

    def _attach(self, event: yaml.Event, node: Node) -> None:
        """Put a finished value where it belongs; in a mapping, keys and values take turns."""
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        value = frame.node.value
        if isinstance(value, list):
            value.append(node)
        elif frame.key is None:
            if isinstance(node.value, list | dict):
                raise _RefusedError("syntax", "a key must be a plain word", node.line - self.offset, node.column)
            frame.key = node
            return
        else:
            self._attach_entry(event, frame, frame.key, node)
            frame.key = None
        frame.node.size += node.size
        frame.node.height = max(frame.node.height, node.height + 1)

    def _attach_entry(self, event: yaml.Event, frame: _Frame, key: Node, node: Node) -> None:
        entries = cast(dict[str, Node], frame.node.value)
        if key.text == "<<" and key.value == "<<" and isinstance(node.value, dict | list):
            merged = node.value if isinstance(node.value, list) else [node]
            if not all(isinstance(each.value, dict) for each in merged):
                raise _RefusedError("syntax", "'<<' merges mappings only", key.line - self.offset, key.column)
            self._counted(event, sum(each.size for each in merged), len(self._stack))
            frame.merged.extend(merged)
            return
        if key.text in entries:
            first = entries[key.text].line
            message = f"'{key.text[:80]}' is given twice (first in line {first})"
            origin = Origin(self.source, key.line, key.column)
            self._problems.append(Problem(Severity.ERROR, "duplicate-field", printable(message), origin))
            return
        node.line, node.column = key.line, key.column
        entries[key.text] = node


def _mark(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 0)


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    """The value of a scalar: plain ones by their looks, quoted ones and those tagged ``!!str`` as text."""
    text = event.value
    if event.tag == _CORE + "str" or (event.tag in (None, "!") and not event.implicit[0]):
        return text
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in "+-.0123456789":
        if len(text) <= 24 and _INTEGER.fullmatch(text):
            return _integer(text)
        if len(text) <= 1000 and _FLOAT.fullmatch(text):
            return float(text)
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits[1:]
    number = int(digits, 0)
    return -number if text[0] == "-" else number
