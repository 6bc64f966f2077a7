"""`weft audit`."""

from __future__ import annotations

import click

from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home


@command("audit", "weft audit", "weft audit --refused --limit 100", "weft audit -o json")
@home_option
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--limit", type=click.IntRange(1, 4000), default=50, show_default=True, help="Latest events shown.")
@output_option
def audit(home: Home, refused: bool, limit: int, output: str) -> int:
    """Show who did what, and what was refused.

    The latest event is last. Documents have the SHA-256 of their text before and after in -o json; secrets have none.
    """
    from weft.local.client import AdminClient

    every = AdminClient(home).get("events")["events"]
    found = [one for one in every if not refused or one["outcome"] == "refused"][:limit][::-1]
    if output != "table":
        print_value(found, output)
        return 0
    rows = [
        (
            one["time"],
            one["who"],
            one["outcome"],
            one["action"],
            one["object"],
            one["detail"],
        )
        for one in found
    ]
    print_table(("TIME", "WHO", "OUTCOME", "ACTION", "OBJECT", "DETAIL"), rows, empty="no events")
    return 0
