"""What commands print: tables, JSON, YAML, problems; colours only on a terminal and without NO_COLOR."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

_COLOURS = {"error": "red", "warning": "yellow", "note": "bright_black", "good": "green", "soft": "bright_black"}

_GAP = "  "
_NARROWEST = 8
"""Columns of a terminal that a cell keeps at least."""


def styled(text: str, meaning: str, stream: TextIO | None = None) -> str:
    """`text` in the colour of `meaning` if `stream` (default stdout) is a terminal that wants colours."""
    where = stream or sys.stdout
    if os.environ.get("NO_COLOR") or not where.isatty():
        return text
    return click.style(text, fg=_COLOURS.get(meaning))


def moment(text: str) -> float:
    """A time of the admin API (RFC 3339) in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def print_value(value: object, form: str) -> None:
    """`value` as ``json`` or ``yaml``."""
    if form == "yaml":
        click.echo(_yaml_text(value), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _yaml_text(value: object) -> str:
    """`value` as YAML, texts of several lines as blocks: a ConfigMap's data is YAML itself."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """With a style of its own for texts."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "", whole: Collection[str] = ()
) -> None:
    """Columns as wide as they need to be, and on a terminal not wider than it together: long cells are cut there, but
    for those of the columns in `whole`, which are to be copied. `empty` on stderr when there is no row."""
    lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not lines:
        if empty:
            click.echo(empty, err=True)
        return
    widths = [max(len(heading), *(len(line[i]) for line in lines)) for i, heading in enumerate(headings)]
    if sys.stdout.isatty():
        cut = [i for i, heading in enumerate(headings) if heading not in whole]
        widths = _fitting(widths, cut, shutil.get_terminal_size().columns - len(_GAP) * (len(widths) - 1))
    click.echo(styled(_line(headings, widths), "soft"))
    for line in lines:
        click.echo(_line(line, widths))


def _fitting(widths: Sequence[int], cut: Sequence[int], room: int) -> list[int]:
    """`widths` with the widest of those at `cut` made narrower until all fit into `room`, but none below what can be
    read; the first, which says what the row is about, last."""
    found = list(widths)
    for columns in ([one for one in cut if one], cut):
        while sum(found) > room and max((found[one] for one in columns), default=0) > _NARROWEST:
            found[max(columns, key=found.__getitem__)] -= 1
    return found


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    cut = (cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(cell.ljust(width) for cell, width in zip(cut, widths, strict=True)).rstrip()


def problem_text(problem: Mapping[str, Any]) -> str:
    """A problem of the admin API on one line, or a few: place, severity, field, what is wrong, what would be right."""
    source, line = str(problem.get("source") or ""), problem.get("line")
    place = f"{source}:{line}" if source and line else source
    severity = str(problem.get("severity") or "error")
    text = f"{place}: " if place else ""
    text += f"{styled(severity, severity, sys.stderr)}: "
    if path := problem.get("path"):
        text += f"{path}: "
    text += str(problem.get("message") or "")
    if expected := problem.get("expected"):
        text += f"\n    expected {expected}"
    if nearest := problem.get("nearest"):
        text += f"\n    did you mean '{nearest}'?"
    if about := object_text(problem.get("object")):
        text += styled(f"\n    in {about}", "soft", sys.stderr)
    return text


def object_text(value: object) -> str:
    """An object's key, given as the API gives it, as ``Kind namespace/name``."""
    if isinstance(value, Mapping):
        namespace = value.get("namespace")
        return (
            f"{value.get('kind')} {namespace}/{value.get('name')}"
            if namespace
            else (f"{value.get('kind')} {value.get('name')}")
        )
    return str(value) if value else ""


def print_problems(problems: Iterable[Mapping[str, Any]]) -> None:
    """Problems on stderr."""
    for problem in problems:
        click.echo(problem_text(problem), err=True)
