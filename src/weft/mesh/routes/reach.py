"""Reach: rules that no request comes to, because one that is tried before takes every request that they match.

Only what is certain counts: a match covers another one if each of its conditions follows from a single condition of the
other. Regular expressions are compared as texts. Rules that only several others together hide are not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from weft.mesh.problems import problem_at
from weft.mesh.routes.rules import EVERYBODY, NamedMatch, RequestMatch, SourceMatch, TextMatch
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity

MAX_COMPARED = 128
"""Earlier rules that one is compared with. What many rules on one path hide may stay untold; time does not."""
_Key = tuple[str, bool, str]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One match of a rule, in the order in which a document's matches are tried. `path` is its field (that of the rule,
    if the rule has no match), `rule` the rule's. `port` 0 and no `gateways`: on each port and side."""

    document: Document[object]
    rule: FieldPath
    path: FieldPath
    match: RequestMatch
    source: SourceMatch = EVERYBODY
    port: int = 0
    gateways: frozenset[str] = frozenset()

    @property
    def identity(self) -> tuple[int, FieldPath]:
        """Which field of which document it is, whatever list it stands in."""
        return (id(self.document), self.path)


def hidden_attempts(attempts: Iterable[Attempt]) -> Iterator[tuple[Attempt, Attempt]]:
    """Each attempt that takes no request, and an earlier one that takes all of them."""
    earlier = _Earlier()
    for attempt in attempts:
        by = earlier.covering(attempt)
        if by is not None:
            yield attempt, by
        else:
            earlier.add(attempt)


def unreachable_problems(attempts: Sequence[Attempt]) -> tuple[Problem, ...]:
    """A warning for each rule of one document that no request comes to, or for those of its matches."""
    hidden = tuple(hidden_attempts(attempts))
    return _told(hidden, attempts, "") if hidden else ()


def crowded_out(lists: Iterable[Sequence[Attempt]], known: Collection[Problem], where: str) -> tuple[Problem, ...]:
    """A warning for each rule of several documents that no request comes to, in whatever list of attempts it stands.
    `where` says whose lists these are, `known` tells of rules that their own document hides already."""
    told = {(problem.object, problem.path) for problem in known}
    pairs = [(attempts, tuple(hidden_attempts(attempts))) for attempts in lists]
    hidden = {attempt.identity: (attempt, by) for _, found in pairs for attempt, by in found}
    for attempts, found in pairs if hidden else ():
        here = {attempt.identity for attempt, _ in found}
        for attempt in attempts:
            if attempt.identity in hidden and attempt.identity not in here:
                del hidden[attempt.identity]
    gone = [
        (attempt, by)
        for attempt, by in hidden.values()
        if not {(attempt.document.key, attempt.rule), (attempt.document.key, attempt.path)} & told
    ]
    return _told(gone, (attempt for attempts, _ in pairs for attempt in attempts), f" {where}") if gone else ()


def _told(hidden: Collection[tuple[Attempt, Attempt]], attempts: Iterable[Attempt], where: str) -> tuple[Problem, ...]:
    fields = {attempt.identity for attempt, _ in hidden}
    alive = {(attempt.document.key, attempt.rule) for attempt in attempts if attempt.identity not in fields}
    hiders: dict[tuple[ObjectKey, FieldPath], set[tuple[int, FieldPath]]] = {}
    for attempt, by in hidden:
        hiders.setdefault((attempt.document.key, attempt.rule), set()).add(by.identity)
    found: dict[tuple[ObjectKey, FieldPath], Problem] = {}
    for attempt, by in hidden:
        rule = (attempt.document.key, attempt.rule)
        path = attempt.rule if rule not in alive and len(hiders[rule]) == 1 else attempt.path
        found.setdefault((rule[0], path), _unreachable(attempt, by, path, where))
    return tuple(found.values())


def _unreachable(attempt: Attempt, by: Attempt, path: FieldPath, where: str) -> Problem:
    what = "match" if path != attempt.rule else "rule"
    other = "" if by.document is attempt.document else f"of {by.document.key} "
    message = (
        f"no request{where} comes to this {what}: {_name(by.path)} {other}({by.document.at(*by.path)}) "
        "is tried first and takes them all"
    )
    expected = f"narrower conditions there, or no such {what} here"
    return problem_at(attempt.document, path, "unreachable", message, expected, severity=Severity.WARNING)


def _name(path: FieldPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[1:]).lstrip(".")


@dataclass(frozen=True, slots=True)
class _Earlier:
    """Attempts tried so far, by what their paths must be; `lengths` are those of paths that end open."""

    by_path: dict[_Key, list[Attempt]] = field(default_factory=dict)
    lengths: set[int] = field(default_factory=set)

    def add(self, attempt: Attempt) -> None:
        key = _key(attempt.match.path)
        self.by_path.setdefault(key, []).append(attempt)
        if key[0] in ("prefix", "segment-prefix") and key[2]:
            self.lengths.add(len(key[2]))

    def covering(self, attempt: Attempt) -> Attempt | None:
        """One that takes every request of `attempt`."""
        left = MAX_COMPARED
        for key in self._wider(attempt.match.path):
            for other in self.by_path.get(key, ()):
                if covers(other, attempt):
                    return other
                left -= 1
                if not left:
                    return None
        return None

    def _wider(self, path: TextMatch | None) -> Iterator[_Key]:
        """The keys of paths that cover `path`."""
        yield _key(None)
        own = kind, ignores, value = _key(path)
        if own == _key(None):
            return
        yield own
        if kind == "regex":
            return
        for cased in (True,) if ignores else (True, False):
            text = _lower(value) if cased else value
            if kind == "exact":
                yield "exact", cased, text
            for length in sorted(size for size in self.lengths if size <= len(text)):
                yield "prefix", cased, text[:length]
                ends = kind != "prefix" if length == len(text) else text[length] == "/"
                if ends:
                    yield "segment-prefix", cased, text[:length]


def _key(path: TextMatch | None) -> _Key:
    """What a path must be: the kind, whether case does not matter, and the text. Every path has one spelling."""
    if path is None or (path.everything and path.kind != "regex"):
        return ("prefix", False, "")
    value = path.value.rstrip("/") if path.kind == "segment-prefix" else path.value
    return (path.kind, path.ignore_case, _lower(value) if path.ignore_case else value)


def _lower(text: str) -> str:
    """As Envoy compares without case: ASCII only."""
    return text.encode().lower().decode()


def covers(first: Attempt, second: Attempt) -> bool:
    """Whether `first` takes every request of `second`, whose path it is known to cover."""
    if first.port not in (0, second.port):
        return False
    if first.gateways and not (second.gateways and second.gateways <= first.gateways):
        return False
    a, b = first.source, second.source
    if a.namespace not in ("", b.namespace) or not set(a.labels) <= set(b.labels):
        return False
    wide, narrow = first.match, second.match
    return (
        _follows(wide.method, narrow.method)
        and _follows(wide.scheme, narrow.scheme)
        and _follows(wide.authority, narrow.authority)
        and all(_implied(condition, narrow.headers) for condition in wide.headers)
        and all(_implied(condition, narrow.query) for condition in wide.query)
        and set(wide.claims) <= set(narrow.claims)
    )


def _implied(condition: NamedMatch, given: tuple[NamedMatch, ...]) -> bool:
    """Whether `condition` holds wherever all that is `given` does."""
    for other in given:
        if other == condition:
            return True
        there = other.name == condition.name and not (condition.invert or other.invert)
        if there and _follows(condition.match, other.match):
            return True
    return False


def _follows(wide: TextMatch | None, narrow: TextMatch | None) -> bool:
    """Whether a text that is there and meets `narrow` meets `wide`."""
    if wide is None or wide == narrow:
        return True
    if narrow is None:
        return False
    if wide.kind == "prefix" and narrow.kind in ("exact", "prefix"):
        return narrow.value.startswith(wide.value)
    return wide.kind == "present"
