"""`weft ps`."""

from __future__ import annotations

import time
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
    from weft.local.client import running_demos
    from weft.local.cluster import named_cluster
    from weft.local.ps import is_up, process_rows

    if named_cluster() is not None:
        text = "weft ps shows processes of this machine; of a cluster: weft get workloads -A, weft proxy status"
        raise click.UsageError(text)
    rows = process_rows(home)
    if output != "table":
        print_value([_mapping(row) for row in rows], output)
    else:
        demos = "" if rows else "".join(f"\na demo runs in {other}" for other in running_demos())
        shown = len(_HEADINGS) - (not any(_last_end(row) for row in rows))
        cells = [_cells(row)[:shown] for row in rows]
        print_table(_HEADINGS[:shown], cells, empty=f"nothing runs in {home.root}{demos}", whole=("ADDRESS",))
    if any(row.pids and row.started_by == "weft up" for row in rows) and not is_up(home):
        click.echo("the `weft up` of these was killed; the next `weft up` or `weft down` ends them", err=True)
    return 1 if any(row.state == "crashed" for row in rows) else 0


def _cells(row: ProcessRow) -> tuple[str, ...]:
    from weft.local.ps import age

    state = row.state + ("" if row.started_by == "weft up" else f", started by {row.started_by}")
    main = next((row.pids[what] for what in ("application", "control plane", "proxy", "agent") if what in row.pids), "")
    return (
        row.name if row.started_by == "weft up" or row.namespace in ("", "default") else f"{row.name}.{row.namespace}",
        state,
        str(row.restarts),
        age(row.since, time.time()) if row.since else "",
        str(main),
        f"{row.memory / 1e6:.0f} MB" if row.memory else "",
        " ".join(row.addresses),
        _last_end(row),
    )


def _last_end(row: ProcessRow) -> str:
    """Why it does not run, as far as that is known."""
    return "" if row.state == "running" else row.ending.removeprefix("has ended with ").removeprefix("was ended by ")


def _mapping(row: ProcessRow) -> dict[str, object]:
    """In the spelling of the admin API, with its form of times."""
    from weft.admin.replies import instant

    return {
        "name": row.name,
        "kind": row.kind,
        "namespace": row.namespace,
        "state": row.state,
        "ending": row.ending,
        "restarts": row.restarts,
        "since": instant(row.since) if row.since else None,
        "started_by": row.started_by,
        "pids": {what.replace(" ", "_"): pid for what, pid in row.pids.items()},
        "memory_bytes": row.memory,
        "addresses": row.addresses,
        "metrics": row.metrics,
    }
