"""Words: what is to be said of a field of another mesh's installation, found by the field's path."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.model.document import ObjectKey, key_mapping
from weft.model.origin import FieldPath, Origin, path_text
from weft.schema.wording import nearest_name
from weft.schema.yaml_nodes import Node, plain_value

_ANY = "*"


class Verdict(enum.StrEnum):
    """What becomes of something: it is the same here, it is done in other words or differs, it is missing, or nobody
    needs it here."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"
    NEEDLESS = "not needed"


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a field. `fitting` are values (as YAML prints them) that ask for what weft does anyway."""

    verdict: Verdict
    text: str
    fitting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report: about whom or what (`subject`), at which place, and what becomes of it."""

    verdict: Verdict
    subject: str
    text: str
    origin: Origin
    path: FieldPath = ()
    object: ObjectKey | None = None


def line_mapping(line: Line) -> dict[str, object]:
    """A Line as ``-o json`` shows it."""
    return {
        "verdict": str(line.verdict),
        "subject": line.subject,
        "text": line.text,
        "source": line.origin.source,
        "line": line.origin.line,
        "path": path_text(line.path),
        "object": key_mapping(line.object) if line.object else None,
    }


Words = Mapping[FieldPath, Word]
"""By path; ``*`` stands for any one step. The longest that fits counts."""


def words(table: Mapping[str, Word]) -> Words:
    """A table whose keys are paths with dots: several that mean the same stand in one key, with spaces between."""
    return {tuple(path.split(".")): word for paths, word in table.items() for path in paths.split()}


def same(text: str) -> Word:
    """It is done here, by the words that are given."""
    return Word(Verdict.SAME, text)


def differs(text: str, *fitting: str) -> Word:
    """It is done here in another way, or means something else."""
    return Word(Verdict.DIFFERS, text, fitting)


def missing(text: str, *fitting: str) -> Word:
    """It is not there."""
    return Word(Verdict.MISSING, text, fitting)


def needless(text: str) -> Word:
    """It is about the other mesh's own parts."""
    return Word(Verdict.NEEDLESS, text)


def spoken(table: Words, tree: Node, source: str, *, base: FieldPath = (), subject: str) -> Iterator[Line]:
    """What is to be said of every field of `tree`, whose own path is `base`: once for each word and place. A field that
    nobody knows is MISSING, with the nearest name."""
    told: set[tuple[FieldPath, int]] = set()
    for path, node in _leaves(tree):
        found = _longest(table, path)
        if found is None:
            yield _unknown(table, path, node, source, base, subject)
            continue
        depth, word = found
        value = _value_text(node)
        if word.fitting and value in word.fitting:
            continue
        place = path[:depth]
        if (place, depth) in told:
            continue
        told.add((place, depth))
        yield Line(word.verdict, subject, word.text, Origin(source, _line_of(tree, place)), (*base, *place))


def known_steps(table: Words, before: FieldPath = ()) -> set[str]:
    """The names that `table` knows below the path `before`."""
    return {
        str(path[len(before)])
        for path in table
        if len(path) > len(before) and path[len(before)] != _ANY and _fits(path[: len(before)], before)
    }


def _leaves(tree: Node) -> Iterator[tuple[FieldPath, Node]]:
    """Every value that holds no others, in the order of the text; empty mappings and lists say nothing."""
    pending: list[tuple[FieldPath, Node]] = [((), tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node.value, dict):
            pending.extend(((*path, key), child) for key, child in reversed(node.value.items()))
        elif isinstance(node.value, list):
            pending.extend(((*path, index), child) for index, child in reversed(list(enumerate(node.value))))
        elif node.value not in (None, ""):
            yield path, node


def _longest(table: Words, path: FieldPath) -> tuple[int, Word] | None:
    """How many steps of `path` the longest fitting pattern has, and its word."""
    names = tuple(step for step in path if not isinstance(step, int))
    best: tuple[int, Word] | None = None
    for pattern, word in table.items():
        length = len(pattern)
        if length <= len(names) and (best is None or length > best[0]) and _fits(pattern, names[:length]):
            best = length, word
    return (_depth(path, best[0]), best[1]) if best else None


def _depth(path: FieldPath, names: int) -> int:
    """How many steps of `path` hold `names` names."""
    for depth, step in enumerate(path):
        names -= not isinstance(step, int)
        if names == 0:
            return depth + 1
    return len(path)


def _fits(pattern: Iterable[object], path: Iterable[object]) -> bool:
    return all(one in (_ANY, other) for one, other in zip(pattern, path, strict=True))


def _unknown(table: Words, path: FieldPath, node: Node, source: str, base: FieldPath, subject: str) -> Line:
    known: tuple[str, ...] = ()
    step: object = ""
    for depth, step in enumerate(path):
        known = tuple(known_steps(table, path[:depth]))
        if isinstance(step, str) and known and step not in known:
            break
    near = nearest_name(str(step), known)
    text = "weft does not know this field" + (f"; did you mean '{near}'?" if near else "")
    return Line(Verdict.MISSING, subject, text, Origin(source, node.line), (*base, *path))


def _value_text(node: Node) -> str:
    value = plain_value(node)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line_of(tree: Node, path: FieldPath) -> int:
    node = tree
    for step in path:
        if isinstance(node.value, dict):
            node = node.value[str(step)]
        elif isinstance(node.value, list) and isinstance(step, int):
            node = node.value[step]
    return node.line
