"""Comparing what the history keeps: one object before and after, and the documents of two revisions."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from weft.admin.history.record import ChangedObject, Kept, Versions

LEFT_OUT = "(too large to be kept)\n"


@dataclass(frozen=True, slots=True)
class Span:
    """One object over a span of revisions: as it was before the first and after the last that changed it."""

    first: ChangedObject
    last: ChangedObject
    before: Versions
    after: Versions

    @property
    def change(self) -> str:
        """What happened to it as a whole; empty: it is as it was."""
        if self.first.before == self.last.after:
            return ""
        if not self.first.before:
            return "created"
        return "changed" if self.last.after else "deleted"

    def diff(self, before: str, after: str) -> str:
        """A unified diff of its YAML; `before` and `after` name the two sides."""
        if self.before.left_out or self.after.left_out:
            return LEFT_OUT
        return kept_diff(self.before.before, self.after.after, before, after)


def spans(changes: Iterable[tuple[ChangedObject, Versions]]) -> list[Span]:
    """The objects of several revisions, oldest first, each once."""
    found: dict[object, Span] = {}
    for one, versions in changes:
        known = found.get(one.key)
        if known is None:
            found[one.key] = Span(one, one, versions, versions)
        else:
            found[one.key] = Span(known.first, one, known.before, versions)
    return [span for _, span in sorted(found.items(), key=lambda item: str(item[0])) if span.change]


def kept_diff(before: Kept | None, after: Kept | None, old: str, new: str) -> str:
    """A unified diff of two versions of a document as YAML; secrets are hidden in what is kept."""
    lines = [kept_yaml(one).splitlines(keepends=True) if one is not None else [] for one in (before, after)]
    return "".join(difflib.unified_diff(lines[0], lines[1], old, new))


def kept_yaml(kept: Kept) -> str:
    """A version as YAML."""
    return yaml.dump(
        json.loads(kept.text), Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=120
    )


class _Dumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
