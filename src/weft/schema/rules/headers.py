"""Rules about header changes, which both routing APIs have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weft.model.origin import FieldPath
from weft.schema.findings import Finding, conflicting, duplicate, no_effect

_SUBSTITUTION = re.compile(r"%[A-Z][A-Z0-9_]*(?:\([^()%]*\))?(?::[0-9]+)?%")
"""What Envoy would replace in a header's value, if it were not escaped."""
HOST_HEADERS = ("host", ":authority")


def header_changes(
    set_: Iterable[tuple[FieldPath, str]],
    add: Iterable[tuple[FieldPath, str]],
    remove: Iterable[tuple[FieldPath, str]],
    host_field: str,
    *,
    host_is_set: bool = False,
) -> Iterator[Finding]:
    """Each header (by any case) is changed in one way; the host has a field of its own (`host_field`), and may be set
    like a header where the API has that habit (`host_is_set`)."""
    changed: dict[str, str] = {}
    for word, entries in (("set", set_), ("add", add), ("remove", remove)):
        for path, name in entries:
            lower = "host" if name.lower() in HOST_HEADERS else name.lower()
            before = changed.get(lower)
            if lower == "host" and not (host_is_set and word == "set"):
                yield conflicting(path, "the host cannot be changed as a header", host_field)
            elif before == word:
                yield duplicate(path, f"the header '{name}' is given twice")
            elif before == "remove" or (before is not None and word == "remove"):
                yield conflicting(path, f"the header '{name}' is both {before} and {word}", "one of set, add, remove")
            changed[lower] = word


def literal_values(values: Iterable[tuple[FieldPath, str]], doubled: str = "") -> Iterator[Finding]:
    """Values are sent as they are written; who expects Envoy to replace something in them is told. `doubled` says who
    takes two percent signs for one."""
    for path, value in values:
        found = _SUBSTITUTION.search(value) if "%" in value else None
        if found is not None:
            yield no_effect(path, f"'{found[0][:80]}' is sent as it is written: weft replaces nothing in a value")
        elif doubled and "%%" in value:
            yield no_effect(path, f"'%%' is sent as it is written ({doubled}: one percent sign)")
