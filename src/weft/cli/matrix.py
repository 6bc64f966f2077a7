"""The matrix of who can call whom, as text, and as one page of HTML without scripts."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from weft.cli.output import print_table
from weft.model.printable import printable

_WORDS = {"yes": "yes", "no": "no", "some": "some", "unconstrained": "open"}
_WIDEST = 8
"""Columns of a table in text; more are listed one after the other."""
_NAMES = 6
_STYLE = """
:root { color-scheme: light dark; --line: #8885; --yes: #0a7d3c; --some: #9a6700; --no: #b42318; --open: #667085; }
@media (prefers-color-scheme: dark) { :root { --yes: #4ac26b; --some: #d4a72c; --no: #ff7b72; --open: #98a2b3; } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; } .soft { color: var(--open); font-weight: normal; }
.yes { color: var(--yes); } .some { color: var(--some); } .no { color: var(--no); }
.unconstrained { color: var(--open); }
@media print { body { margin: 0; font-size: 9px; } .wide { overflow: visible; } a { color: inherit; } }
"""


class Grouped:
    """The matrix with equal rows and equal columns together."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        cells: Sequence[Sequence[int]] = found["cells"]
        self.answers: Sequence[Mapping[str, Any]] = found["answers"]
        columns: dict[tuple[int, ...], list[Mapping[str, Any]]] = {}
        for index, target in enumerate(found["targets"]):
            columns.setdefault(tuple(row[index] for row in cells), []).append(target)
        self.targets = list(columns.values())
        rows: dict[tuple[int, ...], list[Mapping[str, Any]]] = {}
        for index, caller in enumerate(found["callers"]):
            rows.setdefault(tuple(column[index] for column in columns), []).append(caller)
        self.callers = list(rows.values())
        self.cells = list(rows)
        self.notes: dict[int, int] = {}
        for number in (number for row in self.cells for number in row):
            if self.answers[number]["reaches"] == "some":
                self.notes.setdefault(number, len(self.notes) + 1)

    def word(self, number: int) -> str:
        """What stands in a cell."""
        reaches = self.answers[number]["reaches"]
        note = f" [{self.notes[number]}]" if number in self.notes else ""
        return f"{_WORDS[reaches]}{note}"


def print_matrix(found: Mapping[str, Any]) -> None:
    """The matrix for a terminal."""
    matrix = Grouped(found)
    if not found["targets"]:
        click.echo("no service selects workloads here; see weft get services", err=True)
        return
    if len(matrix.targets) <= _WIDEST:
        heads = ["CALLER", *(_group(one) for one in matrix.targets)]
        rows = [
            (_group(caller), *(matrix.word(number) for number in cells))
            for caller, cells in zip(matrix.callers, matrix.cells, strict=True)
        ]
        print_table(heads, rows)
    else:
        for line in _listed(matrix):
            click.echo(line)
    for number, note in matrix.notes.items():
        click.echo(f"[{note}] {some_text(matrix.answers[number])}")
    for line in _members(matrix):
        click.echo(line)


def _listed(matrix: Grouped) -> Iterator[str]:
    """Each port (or group of them), and who comes how far there."""
    for index, targets in enumerate(matrix.targets):
        yield _group(targets, _NAMES)
        by_word: dict[str, list[str]] = {}
        for callers, cells in zip(matrix.callers, matrix.cells, strict=True):
            by_word.setdefault(matrix.word(cells[index]), []).append(_group(callers))
        for word, names in by_word.items():
            yield f"  {word.ljust(9)} {', '.join(names)}"


def _members(matrix: Grouped) -> Iterator[str]:
    for group in (*matrix.callers, *matrix.targets):
        if len(group) > 1:
            yield f"{_group(group)} = {', '.join(_name(one) for one in group)}"


def _name(one: Mapping[str, Any]) -> str:
    kind = " (gateway)" if one.get("gateway") else ""
    return f"{printable(one['name'], 200)}{kind}"


def _group(group: Sequence[Mapping[str, Any]], shown: int = 1) -> str:
    more = f" +{len(group) - shown}" if len(group) > shown else ""
    return ", ".join(_name(one) for one in group[:shown]) + more


def some_text(answer: Mapping[str, Any]) -> str:
    """What an answer that is neither yes nor no depends on."""
    parts = [f"only {' or '.join(answer['only'])}"] if answer["only"] else []
    parts += [f"not {' or '.join(answer['but'])}"] if answer["but"] else []
    parts += [f"if {' and '.join(answer['asks'])} agrees"] if answer["asks"] else []
    places = ", ".join(f"{one['object']} {one['source']}" for one in answer["policies"][:_NAMES])
    return printable("; ".join(parts) + (f" ({places})" if places else ""), 900)


def matrix_page(found: Mapping[str, Any]) -> str:
    """One page that needs nothing else: no script, no file, no network."""
    matrix = Grouped(found)
    head = "".join(f'<th scope="col">{_names_html(one)}</th>' for one in matrix.targets)
    rows = "".join(
        f'<tr><th scope="row">{_names_html(callers)}</th>{_cells_html(matrix, cells)}</tr>\n'
        for callers, cells in zip(matrix.callers, matrix.cells, strict=True)
    )
    notes = "".join(
        f'<li id="n{note}">{html.escape(some_text(matrix.answers[number]))}</li>\n'
        for number, note in matrix.notes.items()
    )
    counts = f"{len(found['callers'])} callers, {len(found['targets'])} service ports"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Who can call whom</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head><body>\n'
        f'<h1>Who can call whom</h1>\n<p class="soft">{counts}. Callers are service accounts; those with the same '
        "answers stand together. Open: no policy says anything there.</p>\n"
        f'<div class="wide"><table><thead><tr><td class="soft">caller ↓ service →</td>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
        + (f"<h2>Some</h2>\n<ol>\n{notes}</ol>\n" if notes else "")
        + "</body></html>\n"
    )


def _names_html(group: Sequence[Mapping[str, Any]]) -> str:
    return "<br>".join(html.escape(_name(one)) for one in group)


def _cells_html(matrix: Grouped, cells: Sequence[int]) -> str:
    return "".join(_cell_html(matrix, number) for number in cells)


def _cell_html(matrix: Grouped, number: int) -> str:
    answer = matrix.answers[number]
    places = "\n".join(f"{one['object']} {one['source']}" for one in answer["policies"])
    note = matrix.notes.get(number)
    word = _WORDS[answer["reaches"]]
    text = f'{word} <a href="#n{note}">{note}</a>' if note else word
    return f'<td class="{answer["reaches"]}" title="{html.escape(printable(places, 900), quote=True)}">{text}</td>'
