"""`weft stat` and `weft edges`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from weft.cli.looking import (
    Looking,
    Row,
    foot,
    looking_options,
    milliseconds,
    name_of,
    protection,
    rate,
    size,
    success,
)
from weft.cli.options import command, home_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home

_EVERY = 2.0
_CLEAR = "\x1b[H\x1b[J"
_FIGURES = ("SUCCESS", "RPS", "P50", "P95", "P99")
_WIDE = ("REQUESTS", "FAILED", "STATUS", "FLAGS", "OUT", "IN", "MTLS")


def _output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "wide", "json", "yaml"]),
        default="table",
        show_default=True,
        help="A table for people, a wide one; JSON or YAML for programs.",
    )(function)


@command(
    "stat",
    "weft stat",
    "weft stat reviews --window 10m",
    "weft stat --by edge -o wide",
    "weft stat --by route --watch",
    "weft stat -o json",
    "weft stat --prometheus http://127.0.0.1:9090 --window 1h",
)
@click.argument("names", nargs=-1, metavar="[SERVICE|WORKLOAD|ROUTE]...")
@home_option
@click.option(
    "--by",
    type=click.Choice(["service", "workload", "route", "edge"]),
    help="What a line is about: calls to a service, calls that a workload answered, calls that a route's rules led "
    "somewhere, or calls of one caller to one service.  [default: service; edge with -o json]",
)
@looking_options
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@_output_option
def stat(
    *,
    names: tuple[str, ...],
    home: Home,
    by: str | None,
    window: float,
    namespace: tuple[str, ...],
    prometheus: str | None,
    watch: bool,
    output: str,
) -> int:
    """Show how often, how well and how fast services are called.

    SUCCESS is the share of requests that were answered, not with a 5xx, without a failure in a proxy, and for gRPC with
    no status of a server's error; '-' where there was no request to judge. Connections of other protocols than HTTP
    have no success and no latency.
    """
    looking = Looking(home, window, namespace, names, prometheus)
    as_data = output in ("json", "yaml")
    group = {"edge": "pair", None: "pair" if as_data else "service"}.get(by, by) or "service"
    if as_data and not watch:
        answer = looking.look(group)
        print_value([_pair_row(row) if group == "pair" else row for row in answer["edges"]], output)
        return 0
    if as_data:
        raise click.UsageError("--watch is for people; programs ask again by themselves")
    _repeat(lambda: _print_stat(looking, group, wide=output == "wide"), watch=watch)
    return 0


@command("edges", "weft edges", "weft edges productpage", "weft edges --window 1h -o wide", "weft edges -o json")
@click.argument("names", nargs=-1, metavar="[SERVICE|WORKLOAD]...")
@home_option
@looking_options
@_output_option
def edges(
    *,
    names: tuple[str, ...],
    home: Home,
    window: float,
    namespace: tuple[str, ...],
    prometheus: str | None,
    output: str,
) -> int:
    """Show who calls whom, and whether both have proven who they are.

    A line for each workload that called, service and port that it called, and workload that answered. Under mutual TLS
    the names of both are those of their certificates; '(unknown)' is whoever showed none, or a call that no instance
    answered.
    """
    looking = Looking(home, window, namespace, names, prometheus)
    answer = looking.look("edge")
    rows = sorted(answer["edges"], key=lambda row: (row["source"], row["destination"], row["destination_workload"]))
    if output in ("json", "yaml"):
        print_value(rows, output)
        return 0
    wide = output == "wide"
    headings = [
        "FROM",
        "TO",
        "ANSWERED BY",
        "PROTOCOL",
        "MTLS",
        "SUCCESS",
        "RPS",
        *(("P99", *_WIDE[:-1]) if wide else ()),
    ]
    print_table(
        headings,
        [_edge_cells(row, answer["seconds"], wide=wide) for row in rows],
        empty="" if rows else looking.nothing(),
    )
    _print_foot(answer)
    return 0


def _edge_cells(row: Row, seconds: float, *, wide: bool) -> list[str]:
    to = name_of(row["destination"]) + (f":{row['port']}" if row["port"] else "")
    cells = [name_of(row["source"]), to, name_of(row["destination_workload"]), row["protocol"], protection(row)]
    cells += [success(row), rate(row) if row["requests"] else f"{row['connections_opened']} conn"]
    return [*cells, milliseconds(row["p99_ms"]), *_wide_cells(row, seconds)[:-1]] if wide else cells


def _pair_row(row: Row) -> dict[str, Any]:
    """An edge as programs get it: its ends, its figures, and what else is known."""
    first = ("source", "destination", "requests_per_second", "success_rate", "p50_ms", "p95_ms", "p99_ms")
    return {name: row[name] for name in first} | {name: value for name, value in row.items() if name not in first}


def _print_stat(looking: Looking, by: str, *, wide: bool) -> None:
    answer = looking.look(by)
    titles = {"service": ("SERVICE",), "workload": ("WORKLOAD",), "route": ("ROUTE", "TO"), "pair": ("FROM", "TO")}[by]
    rows = sorted(answer["edges"], key=lambda row: _title(row, by))
    cells = [[*_title(row, by), *_figures(row), *(_wide_cells(row, answer["seconds"]) if wide else ())] for row in rows]
    print_table((*titles, *_FIGURES, *(_WIDE if wide else ())), cells, empty="" if rows else looking.nothing())
    _print_foot(answer)


def _title(row: Row, by: str) -> tuple[str, ...]:
    match by:
        case "workload":
            return (name_of(row["destination_workload"]),)
        case "route":
            return (name_of(row["route"]), name_of(row["destination"]))
        case "pair":
            return (name_of(row["source"]), name_of(row["destination"]))
        case _:
            return (name_of(row["destination"]),)


def _figures(row: Row) -> tuple[str, ...]:
    return (success(row), rate(row), *(milliseconds(row[f"p{share}_ms"]) for share in (50, 95, 99)))


def _wide_cells(row: Row, seconds: float) -> tuple[str, ...]:
    codes = " ".join(f"{code}:{count}" for code, count in row["codes"].items())
    flags = " ".join(f"{flag}:{count}" for flag, count in row["flags"].items())
    sent, received = (f"{size(row[name] / seconds)}/s" for name in ("bytes_sent", "bytes_received"))
    return str(row["requests"]), str(row["failures"]), codes, flags, sent, received, protection(row)


def _print_foot(answer: Row) -> None:
    for line in foot(answer):
        click.echo(line, err=True)


def _repeat(show: Callable[[], None], *, watch: bool) -> None:
    """Once, or until Ctrl-C; on a terminal each time in the same place."""
    while True:
        if watch and sys.stdout.isatty():
            click.echo(_CLEAR, nl=False)
        show()
        if not watch:
            return
        sys.stdout.flush()
        try:
            time.sleep(_EVERY)
        except KeyboardInterrupt:
            return
