"""Conditions of rules in words: what a rule asks for, and which of it a request does not meet."""

from __future__ import annotations

from collections.abc import Iterator

from weft.explain.matching import Request, query_of, request_matches, text_matches
from weft.mesh.routes.rules import NamedMatch, RequestMatch, TextMatch
from weft.model.printable import printable

_KINDS = {
    "exact": "is",
    "prefix": "begins with",
    "segment-prefix": "is below",
    "regex": "matches",
    "present": "is there",
}
_LONGEST = 120


def match_text(match: RequestMatch) -> str:
    """What a rule asks for: ``path is below /v2 and header end-user is 'jason'``."""
    return " and ".join(text for text, _ in _conditions(match, None)) or "every request"


def misses(match: RequestMatch, request: Request) -> tuple[str, ...]:
    """The conditions that a request does not meet, each with what it has instead."""
    return tuple(text for text, found in _conditions(match, request) if found)


def _conditions(match: RequestMatch, request: Request | None) -> Iterator[tuple[str, bool]]:
    """Each condition in words, and whether it is missed (then with what is there)."""
    seen = request or Request("")
    texts = (
        ("path", match.path, seen.bare_path),
        ("method", match.method, seen.method),
        ("scheme", match.scheme, seen.scheme),
        ("authority", match.authority, seen.authority),
    )
    for name, condition, value in texts:
        if condition is not None:
            missed = request is not None and not text_matches(condition, value)
            yield _said(name, condition, value if missed else None), missed
    for claim in match.claims:
        text = _said(f"claim {'.'.join(claim.path)}", claim.match, None)
        missed = request is not None and not claim.invert
        why = ", which only a valid token has" if missed else ""
        yield f"{'not: ' if claim.invert else ''}{text}{why}", missed
    query = query_of(seen.path)
    for kind, conditions, values in (("header", match.headers, seen.headers), ("parameter", match.query, query)):
        for each in conditions:
            alone = RequestMatch(headers=(each,)) if kind == "header" else RequestMatch(query=(each,))
            missed = request is not None and not request_matches(alone, request)
            yield _named(kind, each, values.get(each.name), missed), missed


def _said(name: str, condition: TextMatch, found: str | None) -> str:
    text = f"{name} {_KINDS[condition.kind]}"
    if condition.kind != "present":
        text += f" '{_cut(condition.value)}'"
    if condition.ignore_case:
        text += " (in any case)"
    return text if found is None else f"{text}, but it is '{_cut(found)}'"


def _named(kind: str, condition: NamedMatch, value: str | None, missed: bool) -> str:
    negation = "not: " if condition.invert else ""
    text = negation + _said(f"{kind} {condition.name}", condition.match, None)
    if not missed:
        return text
    return f"{text}, but there is none" if value is None else f"{text}, but it is '{_cut(value)}'"


def _cut(text: str) -> str:
    return printable(text, _LONGEST)
