"""The screen of `weft top`: what is shown, in which order, and what keys change. No terminal is needed to draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from weft.cli.looking import Looking, Row, foot, milliseconds, name_of, protection, rate, size, span, success

_BY = ("service", "workload", "route", "edge")
_GROUPS = {"edge": "pair"}
_NARROWEST = 12
_PLAIN = {"SUCCESS": 8, "RPS": 8, "P50": 8, "P95": 8, "P99": 8, "OUT": 11, "IN": 11, "MTLS": 4}
"""Columns and how wide they are; the last ones only where there is room."""
_AT_LEAST = 5
_ORDERS = ("RPS", "SUCCESS", "P99", "P50", "P95", "NAME")


@dataclass(slots=True)
class View:
    """What somebody looks at. `press` is a key."""

    by: str = "service"
    order: str = "RPS"
    reverse: bool = False
    part: str = ""
    typing: bool = False
    first: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def group(self) -> str:
        """What the rows are, in the API's word."""
        return _GROUPS.get(self.by, self.by)

    def take(self, answer: Mapping[str, Any] | str) -> None:
        """New figures; or why there are none, while the old ones stay."""
        if isinstance(answer, str):
            self.trouble = answer.splitlines()[0]
        else:
            self.answer, self.trouble = answer, ""

    def press(self, key: str) -> bool:
        """Heed a key; False: it is over."""
        if self.typing:
            self._type(key)
            return True
        match key:
            case "q" | "Q":
                return False
            case "s":
                self.order = _ORDERS[(_ORDERS.index(self.order) + 1) % len(_ORDERS)]
            case "r":
                self.reverse = not self.reverse
            case "b":
                self.by, self.first = _BY[(_BY.index(self.by) + 1) % len(_BY)], 0
            case "/":
                self.typing, self.part, self.first = True, "", 0
            case "escape":
                self.part = ""
            case "up":
                self.first = max(0, self.first - 1)
            case "down":
                self.first += 1
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.part = self.part if key == "enter" else ""
        elif key == "erase":
            self.part = self.part[:-1]
        elif len(key) == 1 and key.isprintable() and len(self.part) < 60:
            self.part += key

    def rows(self) -> list[Row]:
        """Those to be shown, in their order: the most interesting first."""
        found = [row for row in self.answer.get("edges", ()) if self.part.lower() in title(row, self.by).lower()]
        found.sort(key=lambda row: title(row, self.by))
        if self.order != "NAME":
            found.sort(key=lambda row: _weight(row, self.order))
        return found[::-1] if self.reverse else found


def title(row: Row, by: str) -> str:
    """What a row is about."""
    match by:
        case "workload":
            return name_of(row["destination_workload"])
        case "route":
            return f"{name_of(row.get('route', ''))} → {name_of(row['destination'])}"
        case "edge":
            return f"{name_of(row['source'])} → {name_of(row['destination'])}"
        case _:
            return name_of(row["destination"])


def drawn(view: View, looking: Looking, columns: int, lines: int) -> list[str]:
    """The whole screen, no line longer than `columns`, and at most `lines` of them."""
    rows, seconds = view.rows(), float(view.answer.get("seconds") or 1.0)
    requests = sum(row["requests"] for row in rows)
    failed = sum(row["failures"] for row in rows)
    until = str(view.answer.get("until", ""))[11:19]
    head = f"weft top  {until}  last {span(looking.window)}  {requests / seconds:.1f} requests/s"
    head += f"  {failed / seconds:.2f} failed/s" if failed else ""
    shown, widths = _columns(columns)
    marked = [f"{name}{'^' if view.reverse else 'v'}" if name == view.order else name for name in shown]
    heading = view.by.upper() + ("v" if view.order == "NAME" else "")
    body = [_line([heading, *marked], widths)]
    room = max(1, lines - 5)
    view.first = max(0, min(view.first, len(rows) - room))
    screen = [_cut(head, columns), ""]
    screen.append(click.style(body[0], bold=True))
    for row in rows[view.first : view.first + room]:
        text = _line([title(row, view.by), *_cells(row, shown, seconds)], widths)
        screen.append(click.style(text, fg=_colour(row)) if _colour(row) else text)
    if not rows:
        what = (
            f"nothing with '{view.part}' in its name" if view.part else f"no traffic in the last {span(looking.window)}"
        )
        screen.append(_cut(f"{what}; it is looked for every two seconds", columns))
    screen = screen[: lines - 1]
    return [*screen, *[""] * (lines - 1 - len(screen)), _cut(_last(view, len(rows), room), columns)]


def _last(view: View, count: int, room: int) -> str:
    if view.typing:
        return f"name: {view.part}_"
    if view.trouble:
        return f"not of now: {view.trouble}"
    keys = "q end  s sort  r reverse  b by  / name"
    keys += f" ({view.part}; Esc: all)" if view.part else ""
    keys += f"  {view.first + 1}-{min(view.first + room, count)} of {count}" if count > room else ""
    told: Sequence[str] = foot(view.answer) if view.answer else ()
    return keys + (f"  {told[0]}" if told else "")


def _columns(columns: int) -> tuple[list[str], list[int]]:
    """The columns that there is room for, and the width of each, that of the name first."""
    shown = list(_PLAIN)
    while len(shown) > _AT_LEAST and sum(_PLAIN[one] + 2 for one in shown) + 28 > columns:
        shown.pop()
    while shown and sum(_PLAIN[one] + 2 for one in shown) + _NARROWEST > columns:
        shown.pop()
    widths = [_PLAIN[one] for one in shown]
    return shown, [max(1, columns - sum(widths) - 2 * len(widths)), *widths]


def _cells(row: Row, shown: Sequence[str], seconds: float) -> list[str]:
    found = {
        "SUCCESS": success(row),
        "RPS": rate(row),
        "P50": milliseconds(row["p50_ms"]),
        "P95": milliseconds(row["p95_ms"]),
        "P99": milliseconds(row["p99_ms"]),
        "OUT": f"{size(row['bytes_sent'] / seconds)}/s",
        "IN": f"{size(row['bytes_received'] / seconds)}/s",
        "MTLS": protection(row),
    }
    return [found[name] for name in shown]


def _weight(row: Row, order: str) -> float:
    """The less, the further up: many requests, few successes, high latency."""
    if order == "SUCCESS":
        return 2.0 if row["success_rate"] is None else float(row["success_rate"])
    name = "requests_per_second" if order == "RPS" else f"{order.lower()}_ms"
    return -float(row[name] or 0.0)


def _colour(row: Row) -> str | None:
    found = row["success_rate"]
    return None if found is None or found == 1 else "yellow" if found >= 0.95 else "red"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (_cut(cell, width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join((first.ljust(widths[0]), *(one.rjust(width) for one, width in zip(rest, widths[1:], strict=True))))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"[:width]
