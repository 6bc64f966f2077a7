"""`weft audit`: who did what, what was refused, and whether the record is as it was written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from weft.cli.group import DefaultGroup
from weft.cli.options import CommandT, command, home_option, output_option
from weft.cli.output import print_table, print_value, styled
from weft.settings.home import Home

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FOLLOW_SECONDS = 1.0
_OVERLAP = timedelta(seconds=10)


def _when(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """A time: RFC 3339, or how long ago."""
    if value is None:
        return None
    if ago := _AGO.fullmatch(value):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        text = f"'{value}': expected how long ago, such as 2h, or a time such as 2026-11-26T19:00:00Z"
        raise click.BadParameter(text, ctx, param) from error
    return found if found.tzinfo else found.astimezone()


def _filters(function: CommandT) -> CommandT:
    for option in (
        click.option("--until", metavar="TIME", callback=_when, help="Only before this time."),
        click.option("--since", metavar="TIME", callback=_when, help="Only from this time on: 2h, or RFC 3339."),
        click.option("--what", default="", help="Only where action or object have this in them."),
        click.option("--who", default="", help="Only of those whose name has this in it."),
    ):
        function = option(function)
    return function


@click.group(cls=DefaultGroup, default="list")
def audit() -> None:
    """Show who did what, and what was refused.

    `weft audit` lists events; `export` prints them as lines of JSON, `verify` says whether they are as they were.
    """


@command(
    "list",
    "weft audit",
    "weft audit --refused --limit 100",
    "weft audit list --who ci --what undo --since 24h",
    "weft audit -f",
    "weft audit -o json",
)
@home_option
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--limit", type=click.IntRange(1, 6000), default=50, show_default=True, help="Latest events shown.")
@_filters
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "jsonl"]),
    default="table",
    show_default=True,
    help="A table for people; JSON, YAML, or a line of JSON for each event, for programs.",
)
def list_(
    *,
    home: Home,
    refused: bool,
    limit: int,
    who: str,
    what: str,
    since: datetime | None,
    until: datetime | None,
    follow: bool,
    output: str,
) -> int:
    """Show who did what, and what was refused.

    The latest event is last. Documents have the SHA-256 of their text before and after in -o json, and the revision of
    the history that has the texts (weft history show REVISION); secrets have none.
    """
    query = _query(who, what, since, until) | {"limit": str(limit)} | ({"outcome": "refused"} if refused else {})
    found = _events(home, query)
    if follow:
        if output not in ("table", "jsonl"):
            raise click.UsageError("--follow prints a line for each event: -o table or -o jsonl")
        for event in _following(home, query, found):
            click.echo(_line(event) if output == "table" else json.dumps(event, ensure_ascii=False))
        return 0
    if output == "jsonl":
        for event in found:
            click.echo(json.dumps(event, ensure_ascii=False))
    elif output != "table":
        print_value(found, output)
    else:
        rows = [
            (
                one["time"],
                one["who"],
                one["outcome"],
                one["action"],
                one["object"],
                one["detail"] or (f"revision {one['revision']}" if one.get("revision") else ""),
            )
            for one in found
        ]
        print_table(("TIME", "WHO", "OUTCOME", "ACTION", "OBJECT", "DETAIL"), rows, empty="no events")
    return 0


@command("export", "weft audit export > audit.jsonl", "weft audit export --since 2026-11-01T00:00:00Z > november.jsonl")
@home_option
@_filters
def export(home: Home, who: str, what: str, since: datetime | None, until: datetime | None) -> int:
    """Print every event that is kept as a line of JSON, the oldest first.

    The last line is the head of the audit's chain: keep it where the store's host cannot reach it, and a record that
    was cut short can be told from a whole one.
    """
    from weft.local.client import AdminClient

    for event in _events(home, _query(who, what, since, until)):
        click.echo(json.dumps(event, ensure_ascii=False))
    click.echo(json.dumps({"chain": AdminClient(home).get("audit/chain")["head"]}))
    return 0


@command("verify", "weft audit verify", "weft audit verify -o json")
@home_option
@output_option
def verify(home: Home, output: str) -> int:
    """Say whether events were changed, removed or slipped in since they were recorded. Exit code 1: they were."""
    from weft.local.client import AdminClient

    found: dict[str, Any] = AdminClient(home).get("audit/chain")
    if output != "table":
        print_value(found, output)
        return 0 if found["intact"] else 1
    for text in found["findings"]:
        click.echo(styled(text, "error"))
    head = found["head"]
    word = styled("intact", "good") if found["intact"] else styled("not intact", "error")
    click.echo(f"the audit is {word}: {found['covered']} events are as they were recorded")
    click.echo(
        f"{found['forgotten']} older ones are no longer kept, {found['not_covered_yet']} are not in the chain yet"
    )
    if head["number"]:
        click.echo(f"head: link {head['number']} of {head['time']}, {head['hash']}")
    return 0 if found["intact"] else 1


def _query(who: str, what: str, since: datetime | None, until: datetime | None) -> dict[str, str]:
    times = {"since": since, "until": until}
    given = {"who": who, "what": what} | {name: one.isoformat() for name, one in times.items() if one is not None}
    return {name: value for name, value in given.items() if value}


def _events(home: Home, query: dict[str, str]) -> list[dict[str, Any]]:
    """The oldest first."""
    from weft.local.client import AdminClient

    found: list[dict[str, Any]] = AdminClient(home).get("events", **query)["events"]
    return found[::-1]


def _following(home: Home, query: dict[str, str], found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """`found`, and then what happens, each event once."""
    yield from found
    seen = {one["id"] for one in found}
    latest = datetime.fromisoformat(found[-1]["time"]) if found else datetime.now(UTC)
    while True:
        time.sleep(_FOLLOW_SECONDS)
        for event in _events(home, {**query, "limit": "6000", "since": (latest - _OVERLAP).isoformat()}):
            if event["id"] not in seen:
                seen.add(event["id"])
                latest = max(latest, datetime.fromisoformat(event["time"]))
                yield event


def _line(event: dict[str, Any]) -> str:
    return "  ".join(
        str(event[name]) for name in ("time", "who", "outcome", "action", "object", "detail") if event[name]
    )


audit.add_command(list_)
audit.add_command(export)
audit.add_command(verify)
