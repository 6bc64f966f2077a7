"""`weft ps`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.ps import ProcessRow

_HEADINGS = ("NAME", "STATE", "RESTARTS", "SINCE", "PID", "MEMORY", "ADDRESS", "LAST END")


@command("ps", "weft ps", "weft ps -o json")
@home_option
@output_option
def ps(home: Home, output: str) -> int:
    """Show the processes of the mesh on this machine.

    Those of `weft up`, and those started by hand in the same home. PID is the application's (the proxy's of a gateway),
    MEMORY that of application, proxy and agent together. Exit code 1 when one has crashed.
    """
    from dataclasses import asdict

    from weft.local.client import running_demos
    from weft.local.ps import is_up, process_rows

    rows = process_rows(home)
    if output != "table":
        print_value([_mapping(asdict(row)) for row in rows], output)
    else:
        demos = "" if rows else "".join(f"\na demo runs in {other}" for other in running_demos())
        print_table(_HEADINGS, [_cells(row) for row in rows], empty=f"nothing runs in {home.root}{demos}")
    if any(row.pids and row.started_by == "weft up" for row in rows) and not is_up(home):
        click.echo("the `weft up` of these was killed; the next `weft up` or `weft down` ends them", err=True)
    return 1 if any(row.state == "crashed" for row in rows) else 0


def _cells(row: ProcessRow) -> tuple[str, ...]:
    from weft.local.ps import age

    state = row.state + (", started by hand" if row.started_by == "hand" else "")
    main = next((row.pids[what] for what in ("application", "control plane", "proxy", "agent") if what in row.pids), "")
    return (
        row.name if row.started_by != "hand" or row.namespace in ("", "default") else f"{row.name}.{row.namespace}",
        state,
        str(row.restarts),
        age(row.since, time.time()) if row.since else "",
        str(main),
        f"{row.memory / 1e6:.0f} MB" if row.memory else "",
        " ".join(row.addresses),
        row.ending if row.state != "running" else "",
    )


def _mapping(row: dict[str, object]) -> dict[str, object]:
    """With names and times as the APIs have them."""
    row["memory_bytes"] = row.pop("memory")
    since = row["since"]
    text = datetime.fromtimestamp(since, UTC).isoformat(timespec="milliseconds") if isinstance(since, float) else ""
    return row | {"since": text.replace("+00:00", "Z") if since else None}
