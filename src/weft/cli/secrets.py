"""`weft secrets`: how the store keeps its secrets, and a new key for them."""

from __future__ import annotations

from typing import Any

import click

from weft.cli.group import Group
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_value, styled
from weft.settings.home import Home


@click.group(cls=Group)
def secrets() -> None:
    """How the store keeps secrets: sealed, and with which key."""


@command("status", "weft secrets status", "weft secrets status -o json")
@home_option
@output_option
def status(home: Home, output: str) -> int:
    """Show what encrypts the store's secrets, and whether all of them can be read. Exit code 1: they cannot."""
    from weft.local.client import AdminClient

    return _print(AdminClient(home).get("secrets"), output)


@command("rotate-key", "weft secrets rotate-key", "weft secrets rotate-key -o json")
@home_option
@output_option
def rotate_key(home: Home, output: str) -> int:
    """Seal the store's secrets with a new key.

    A key file is made anew, too. A key of a variable or a command is renewed where it comes from: give both, the new
    one first, restart, and then only the new one.
    """
    from weft.local.client import AdminClient

    return _print(AdminClient(home, timeout=300.0).call("POST", "secrets/rotation", {}), output)


@command("lost-key", "weft secrets lost-key --yes", "weft secrets lost-key --yes -o json")
@home_option
@click.option("--yes", is_flag=True, help="Yes, the key is lost.")
@output_option
def lost_key(home: Home, yes: bool, output: str) -> int:
    """Give up a key that is lost, and begin with a new one.

    Secrets that cannot be read stay so until they are applied again; proxies keep the certificates that they have. The
    audit's chain and the history's hashes begin anew.
    """
    from weft.local.client import AdminClient

    if not yes:
        raise click.UsageError("what the lost key has sealed cannot be read any more, ever; say --yes if it is lost")
    return _print(AdminClient(home, timeout=300.0).call("POST", "secrets/loss", {}), output)


def _print(found: dict[str, Any], output: str) -> int:
    good = not found["error"] and not found["unreadable"] and not found["clear"]
    if output != "table":
        print_value(found, output)
        return 0 if good else 1
    older = f", {found['older']} with an older key" if found["older"] else ""
    rows = (
        ("KEY", f"{found['key'] or 'none'}, since {found['since'] or 'never'}"),
        ("WRAPPED BY", found["wrapper"]),
        ("SEALED", f"{found['sealed']} values{older}"),
        ("IN CLEAR", found["clear"]),
        ("UNREADABLE", found["unreadable"]),
    )
    for heading, value in rows:
        click.echo(f"{heading:<11} {value}")
    for place in found["unreadable_keys"]:
        click.echo(f"  {place}")
    if found["error"]:
        click.echo(styled(found["error"], "error"))
    return 0 if good else 1


secrets.add_command(status)
secrets.add_command(rotate_key)
secrets.add_command(lost_key)
