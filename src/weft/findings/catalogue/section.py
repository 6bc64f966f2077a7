"""A code's section of the pages, as Markdown and as text for a terminal."""

from __future__ import annotations

from weft.findings.catalogue.entry import Entry


def section(entry: Entry) -> str:
    """The section of `docs/findings.md`."""
    lines = [f"### {entry.code}", "", f"{entry.number}, {entry.severity}{_istio(entry)}.", "", entry.meaning, ""]
    lines += ["```", entry.example, "```", "", f"**To mend it:** {entry.mend}"]
    if entry.fix:
        lines += ["", "```", entry.fix, "```"]
    return "\n".join(lines)


def plain(entry: Entry) -> str:
    """The same for a terminal."""
    lines = [f"{entry.code}  ({entry.number}, {entry.severity}{_istio(entry)})", "", entry.meaning, ""]
    lines += [f"  for example: {entry.example}", "", f"To mend it: {entry.mend}"]
    if entry.fix:
        lines += ["", f"  {entry.fix}"]
    return "\n".join(lines)


def _istio(entry: Entry) -> str:
    return f", in Istio {', '.join(entry.istio)}" if entry.istio else ""
