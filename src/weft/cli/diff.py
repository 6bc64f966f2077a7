"""`weft diff`."""

from __future__ import annotations

import click

from weft.cli.options import command, home_option, output_option
from weft.cli.output import coloured_diff, object_text, print_value
from weft.settings.home import Home


@command(
    "diff", "weft diff 11", "weft diff 11 14", "weft diff 11 14 --resources --proxy reviews-v2", "weft diff 3 -o json"
)
@click.argument("revision", type=click.IntRange(0))
@click.argument("later", type=click.IntRange(0), required=False)
@home_option
@click.option("--resources", is_flag=True, help="Also what proxies got in between.")
@click.option("--proxy", help="Only what this proxy got; stands for --resources, too.")
@output_option
def diff(revision: int, later: int | None, home: Home, resources: bool, proxy: str | None, output: str) -> int:
    """Show what differs between two revisions.

    The documents as they were at REVISION and at LATER (by default now), as a unified diff. What was changed and
    changed back is not shown. `weft history` lists the revisions; `weft history show REV` is what one of them changed.
    """
    from weft.cli.history import print_groups
    from weft.local.client import AdminClient

    query = {"from": str(revision), "to": None if later is None else str(later), "proxy": proxy}
    found = AdminClient(home).get("diff", **query)
    if output != "table":
        print_value(found, output)
        return 0
    for one in found["documents"]:
        click.echo(f"{object_text(one['key'])} {one['change']}")
        click.echo(coloured_diff(one["diff"]))
    if resources or proxy:
        print_groups(found["resources"], True)
        if not found["resources"]:
            click.echo(f"{proxy} got nothing in between" if proxy else "no proxy got anything in between", err=True)
    elif not found["documents"]:
        click.echo(f"revisions {found['from']} and {found['to']} have the same documents", err=True)
    return 0
