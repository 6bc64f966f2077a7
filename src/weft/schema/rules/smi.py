"""Rules of the Service Mesh Interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, duplicate, missing
from weft.schema.kinds.smi import HttpRouteGroupSpec, SmiMatch, TrafficSplitSpec
from weft.schema.rules.authorizationpolicy import FIELDS


def route_group(spec: HttpRouteGroupSpec) -> Iterator[Finding]:
    """Each match has a name of its own."""
    seen: set[str] = set()
    for index, match in enumerate(spec.matches):
        if match.name in seen:
            yield duplicate(("matches", index, "name"), f"the match '{match.name}' is given twice")
        seen.add(match.name)


def match(spec: SmiMatch) -> Iterator[Finding]:
    """Methods are methods."""
    for index, text in enumerate(spec.methods):
        expected = FIELDS["methods"](text)
        if expected or (text != "*" and "*" in text):
            yield Finding(("methods", index), f"found '{text}'", "a method such as GET, or *")


def split(spec: TrafficSplitSpec) -> Iterator[Finding]:
    """Somebody gets the requests, and each backend has one share."""
    seen: set[str] = set()
    for index, backend in enumerate(spec.backends):
        if backend.service in seen:
            yield duplicate(("backends", index, "service"), f"the backend '{backend.service}' is given twice")
        seen.add(backend.service)
    if not any(backend.weight for backend in spec.backends):
        yield missing(("backends",), "the weights add up to 0", "weight in each backend")


RULES: Mapping[type, tuple[Rule, ...]] = {
    HttpRouteGroupSpec: (route_group,),
    SmiMatch: (match,),
    TrafficSplitSpec: (split,),
}
