"""`weft clean`."""

from __future__ import annotations

import click

from weft.cli.options import command, home_option
from weft.settings.home import Home


@command("clean", "weft clean", "weft clean --dry-run")
@home_option
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--certificates",
    is_flag=True,
    help="Also workloads that hold a certificate. On another host than the control plane's they need a new token then.",
)
def clean(home: Home, dry_run: bool, certificates: bool) -> int:
    """Remove what finished runs have left.

    Directories and logs of workloads of which nothing runs, and sockets of homes that are gone. What runs is left
    alone. A workload that starts again afterwards may get other ports.
    """
    from weft.local.clean import clean as clean_home

    removed = clean_home(home, dry_run=dry_run, certified=certificates)
    for path in removed:
        click.echo(path)
    if not removed:
        click.echo("nothing to remove", err=True)
    return 0
