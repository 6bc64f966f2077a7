"""`weft requests` and `weft tap`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from weft.cli.complete import complete_proxy
from weft.cli.looking import name_of
from weft.cli.options import command, home_option, output_option
from weft.cli.output import fits, of_today, place_tail, print_table, print_value, styled
from weft.settings.home import Home

_HEADINGS = ("TIME", "PROXY", "SIDE", "REQUEST", "STATUS", "TOOK", "WHY", "RULE", "ID")
_ABOVE = _HEADINGS.index("WHY")
_RULE_WIDTH = 36
_FOLLOW_SECONDS = 1.0


@command(
    "requests",
    "weft requests",
    "weft requests reviews-v2 --failed",
    "weft requests --follow",
    "weft explain \"$(weft requests --failed --limit 1 -o json | jq -r '.[0].id')\"",
)
@click.argument("workload", required=False, shell_complete=complete_proxy)
@home_option
@click.option("--failed", is_flag=True, help="Without those that were only slow.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="Latest requests shown.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come, until Ctrl-C.")
@output_option
def requests(workload: str | None, home: Home, failed: bool, limit: int, follow: bool, output: str) -> int:
    """List the latest requests that failed or were slow.

    Each proxy notes requests that ended with a status of 500 or more, with an error of gRPC, without an answer, with
    a fault, or after more than a second, on the caller's side and on the callee's; both have the same id, and `weft
    explain ID` tells the rest. The query of a path is not kept. The latest request is last.
    """
    from weft.local.client import AdminClient

    client = AdminClient(home)
    query = {"workload": workload, "failed": "1" if failed else None, "limit": str(limit)}
    found = client.get("requests", **query)["requests"][::-1]
    if follow:
        _follow(client, query, found, output)
    if output != "table":
        print_value(found, output)
    else:
        _print_requests([_row(one) for one in found])
    return 0


def _print_requests(rows: list[tuple[object, ...]]) -> None:
    """A table; on a terminal that is too narrow for it, why, the rule and the id stand below each request."""
    if fits(_HEADINGS, rows):
        print_table(_HEADINGS, rows, empty="no request has failed or was slow")
        return
    below = []
    for row in rows:
        why, rule, name = map(str, row[_ABOVE:])
        parts = (name, place_tail(rule, _RULE_WIDTH), why)
        below.append(styled("    " + "  ".join(part for part in parts if part), "soft"))
    print_table(_HEADINGS[:_ABOVE], [row[:_ABOVE] for row in rows], below=below)


def _follow(client: Any, query: Mapping[str, str | None], found: list[dict[str, Any]], output: str) -> None:
    """Print what is there and what comes, one line each, until interrupted."""
    import time

    told: dict[str, None] = {}
    while True:
        for one in found:
            key = f"{one['id']} {one['workload']} {one['side']} {one['time']}"
            if key not in told:
                told[key] = None
                click.echo(json.dumps(one) if output == "json" else _line(one))
        while len(told) > 5000:
            told.pop(next(iter(told)))
        time.sleep(_FOLLOW_SECONDS)
        found = client.get("requests", **query)["requests"][::-1]


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    target = f"{one['method']} {one['host']}{one['path']}" if one["method"] else f"connection {one['cluster']}"
    return (
        one["time"],
        name_of(one["workload"]),
        one["side"],
        target,
        one["status"] or "-",
        f"{one['duration_ms']:g} ms",
        one["meaning"] + (f" ({one['flags']})" if one["flags"] != "-" else ""),
        one["source"],
        one["id"],
    )


def _line(one: Mapping[str, Any]) -> str:
    time, workload, side, target, status, took, why, rule, name = _row(one)
    shown = styled(str(status), "error" if one["failed"] else "good")
    if sys.stdout.isatty():
        time, rule = of_today(str(time)), place_tail(str(rule), _RULE_WIDTH)
    parts = (time, workload, side, target, shown, took, why, rule, name)
    return "  ".join(str(part) for part in parts if part)


@command(
    "tap",
    "weft tap reviews-v2",
    "weft tap reviews-v2 --method POST --path /orders --status 5xx",
    "weft tap productpage-v1 --header end-user -o json",
)
@click.argument("workload", shell_complete=complete_proxy)
@home_option
@click.option("--method", default="", help="Only this method.")
@click.option("--path", default="", metavar="PREFIX", help="Only paths that begin so.")
@click.option("--status", default="", metavar="CODE", help="Only this status, or class of it, such as 5xx.")
@click.option("--header", default="", metavar="NAME", help="Only requests that have a header of this name.")
@click.option("--rate", type=click.IntRange(1, 100), default=20, show_default=True, help="Requests per second at most.")
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, show_default=True, help="End after so long.")
@click.option("--headers", "with_headers", is_flag=True, help="Show the request's headers, too.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format.")
def tap(
    workload: str,
    home: Home,
    method: str,
    path: str,
    status: str,
    header: str,
    rate: int,
    limit: int | None,
    seconds: float,
    with_headers: bool,
    output: str,
) -> int:
    """Watch the requests of a workload as they happen.

    Those that it makes and those that come to it, as its proxy sees them, and as the proxies on the other side do.
    Begins within a few seconds, ends by itself, and leaves nothing switched on. Values of headers and of parameters
    that are secret are masked before they leave the host.
    """
    from weft.local.client import AdminClient

    query = {
        "workload": workload,
        "method": method or None,
        "path": path or None,
        "status": status or None,
        "header": header or None,
        "rate": str(rate),
        "limit": str(limit) if limit else None,
        "seconds": f"{seconds:g}",
    }
    _print_tap(AdminClient(home).lines("tap", query), with_headers, output)
    return 0


def _print_tap(lines: Iterable[bytes], with_headers: bool, output: str) -> None:
    click.echo(styled("watching; it ends by itself, or with Ctrl-C", "soft", sys.stderr), err=True)
    left_out = 0
    for line in lines:
        one = json.loads(line)
        if "left_out" in one:
            if one["left_out"] > left_out:
                click.echo(styled(f"{one['left_out'] - left_out} left out for the rate", "soft", sys.stderr), err=True)
                left_out = one["left_out"]
            continue
        if output == "json":
            click.echo(line.decode().strip())
            continue
        click.echo(_line(one))
        for name, value in one["headers"].items() if with_headers else ():
            click.echo(styled(f"    {name}: {value}", "soft"))
