"""What commands print: tables, JSON, YAML, problems; colours only on a terminal and without NO_COLOR."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click

_COLOURS = {"error": "red", "warning": "yellow", "note": "bright_black", "good": "green", "soft": "bright_black"}

_GAP = "  "
_PLACES = frozenset(("SOURCE", "RULE"))
"""Columns of places."""
_NARROWEST = 8
"""Columns of a terminal that a cell keeps at least."""


def styled(text: str, meaning: str, stream: TextIO | None = None) -> str:
    """`text` in the colour of `meaning` if `stream` (default stdout) is a terminal that wants colours."""
    where = stream or sys.stdout
    if os.environ.get("NO_COLOR") or not where.isatty():
        return text
    return click.style(text, fg=_COLOURS.get(meaning))


def coloured_diff(diff: str, margin: str = "") -> str:
    """A unified diff for a person, each line after `margin`; what came and what went in colours on a terminal."""
    meaning = {"+": "good", "-": "error", "@": "soft"}
    safe = (_visible(line) for line in diff.split("\n") if line)
    lines = (styled(line, meaning[line[0]]) if line[:1] in meaning else line for line in safe)
    return "\n".join(f"{margin}{line}" for line in lines)


def _visible(line: str) -> str:
    """`line` with an escape for whatever would move the cursor or hide; spaces and tabs stay."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in line)


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
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str = "",
    whole: Collection[str] = (),
    below: Sequence[str] = (),
) -> None:
    """Columns as wide as they need to be, and on a terminal not wider than it together: long cells are cut there (of a
    place its beginning), but for those of the columns in `whole`, which are to be copied; times of today go without
    their date. `below` has a line for each row, to stand under it. `empty` on stderr when there is no row."""
    lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not lines:
        if empty:
            click.echo(empty, err=True)
        return
    widths = _widths(headings, lines)
    if sys.stdout.isatty() and sum(widths) > _room(headings):
        time = headings.index("TIME") if "TIME" in headings else -1
        lines = [[of_today(cell) if i == time else cell for i, cell in enumerate(line)] for line in lines]
        cut = [i for i, heading in enumerate(headings) if heading not in whole]
        widths = _fitting(_widths(headings, lines), cut, _room(headings))
    tails = [heading in _PLACES for heading in headings]
    click.echo(styled(_line(headings, widths, [False] * len(widths)), "soft"))
    for index, line in enumerate(lines):
        click.echo(_line(line, widths, tails))
        if below:
            click.echo(below[index])


def fits(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Whether a table is shown whole: it is narrow enough for the terminal, or there is none."""
    lines = [[str(cell) for cell in row] for row in rows]
    return not sys.stdout.isatty() or not lines or sum(_widths(headings, lines)) <= _room(headings)


def place_tail(place: str, width: int) -> str:
    """A place of at most `width`: of a long path its end, which has the file and the line."""
    return place if len(place) <= width else f"…{place[1 - width :]}"


def of_today(time: str) -> str:
    """A time of today without its date."""
    return time.removeprefix(datetime.now(UTC).strftime("%Y-%m-%dT"))


def _room(headings: Sequence[str]) -> int:
    return shutil.get_terminal_size().columns - len(_GAP) * (len(headings) - 1)


def _widths(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(heading), *(len(line[i]) for line in lines)) for i, heading in enumerate(headings)]


def _fitting(widths: Sequence[int], cut: Sequence[int], room: int) -> list[int]:
    """`widths` with the widest of those at `cut` made narrower until all fit into `room`, but none below what can be
    read; the first, which says what the row is about, last."""
    found = list(widths)
    for columns in ([one for one in cut if one], cut):
        while sum(found) > room and max((found[one] for one in columns), default=0) > _NARROWEST:
            found[max(columns, key=found.__getitem__)] -= 1
    return found


def _line(cells: Sequence[str], widths: Sequence[int], tails: Sequence[bool]) -> str:
    cut = (
        place_tail(cell, width) if tail else cell if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width, tail in zip(cells, widths, tails, strict=True)
    )
    return _GAP.join(cell.ljust(width) for cell, width in zip(cut, widths, strict=True)).rstrip()


def problem_text(problem: Mapping[str, Any]) -> str:
    """A problem of the admin API on one line, or a few: place, severity, field, what is wrong, what would be right,
    its object and its code, which `weft explain-code` takes."""
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
    about, code = object_text(problem.get("object")), str(problem.get("code") or "")
    if told := " ".join((f"in {about}" if about else "", f"({code})" if code else "")).strip():
        text += styled(f"\n    {told}", "soft", sys.stderr)
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
