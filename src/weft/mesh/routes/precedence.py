"""Precedence: the order of HTTPRoute rules, and which document owns a host.

Gateway API, HTTPRouteRule: an exact path, then the longest prefix, a method, the most headers, the most query
parameters; then the oldest route, the first by ``namespace/name``; then the first rule. Where a regex path stands is
left to implementations: after every exact path, and before the prefixes that are not longer than its pattern's literal
start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from weft.mesh.routes.kind import Converted, RulePrecedence
from weft.mesh.routes.rules import EVERYBODY, RequestMatch, Rule, TextMatch
from weft.model.document import Document
from weft.model.labels import Labels

_LITERAL = re.compile(r"\^?((?:[A-Za-z0-9/_~%-]|\\[^A-Za-z0-9])*)(?![*?{])")


def literal_start(pattern: str) -> int:
    """The number of characters that every text matched by a regex starts with, as far as is plain to see."""
    return len(literal_text(pattern))


def literal_text(pattern: str) -> str:
    """What every text matched by a regex starts with, as far as is plain to see."""
    if "|" in pattern:
        return ""
    found = _LITERAL.match(pattern)
    return found[1].replace("\\", "") if found else ""


def _path_rank(path: TextMatch | None) -> tuple[int, int, int]:
    if path is None:
        return (1, -1, 1)
    if path.kind == "exact":
        return (0, -len(path.value), 0)
    if path.kind == "regex":
        return (1, -literal_start(path.value), 0)
    return (1, -len(path.value), 1)


def rule_precedence(
    document: Document[object], match: RequestMatch, rule: int, place: int, *, path_length: int = 0
) -> RulePrecedence:
    """The sort key of match `place` of rule `rule`; the smaller comes first. `path_length` is the length of the path as
    written, where `match` holds another form of it."""
    kind, length, regex = _path_rank(match.path)
    return (
        kind,
        -path_length if path_length and not (match.path and match.path.kind == "regex") else length,
        regex,
        0 if match.method else 1,
        -len(match.headers),
        -len(match.query),
        *document.precedence,
        rule,
        place,
    )


def merge_by_precedence(parts: Sequence[Converted], *, one_caller: bool = True) -> tuple[Rule, ...]:
    """The rules of several documents on one host, in the order they are tried: all those for one class of callers, or
    those for any."""
    entries = [entry for part in parts for entry in _reached(part, one_caller)]
    return tuple(rule for _, rule in sorted(entries, key=lambda entry: entry[0]))


def _reached(part: Converted, one_caller: bool) -> Iterable[tuple[RulePrecedence, Rule]]:
    """The rules of one document up to its first for every request. What stands after it stays without effect, also
    where that rule itself moves back behind those of other documents."""
    for order, rule in zip(part.precedence, part.rules, strict=True):
        yield order, rule
        if rule.match.everything and (one_caller or rule.source == EVERYBODY):
            return


def rules_for_caller(part: Converted, namespace: str, selectors: tuple[Labels, ...]) -> Converted:
    """The rules in force for callers in `namespace` that match exactly these source selectors."""
    entries = zip(part.precedence, part.rules, strict=True)
    kept = [(order, rule) for order, rule in entries if rule.source.covers(namespace, selectors)]
    if len(kept) == len(part.rules):
        return part
    return replace(part, rules=tuple(rule for _, rule in kept), precedence=tuple(order for order, _ in kept))


def owner_order(document: Document[object]) -> tuple[float, str, str]:
    """Sort key of documents that claim one host: the oldest first, then by ``namespace/name`` and kind."""
    return (*document.precedence, document.key.kind)
