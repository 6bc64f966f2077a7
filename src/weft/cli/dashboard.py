"""`weft dashboard`: the control plane's web page, through a one-time address."""

from __future__ import annotations

import os
import sys

import click

from weft.cli.options import command, home_option
from weft.settings.home import Home


@command("dashboard", "weft dashboard", "weft dashboard --no-open", "weft dashboard -o json")
@home_option
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With json: the address and until when it works; no browser is opened.",
)
def dashboard(home: Home, no_open: bool, output: str) -> int:
    """Open the control plane's web page.

    The address works once, for five minutes, and signs one browser in for twelve hours or until the control plane is
    restarted. Over SSH, forward the port and open the address on your side: ssh -L 15080:127.0.0.1:15080 HOST.
    """
    import json
    import webbrowser

    from weft.local.client import AdminClient

    found = AdminClient(home).call("POST", "dashboard", {})
    if output == "json":
        click.echo(json.dumps(found))
        return 0
    opened = not no_open and _has_display() and webbrowser.open(found["url"])
    click.echo(found["url"])
    if opened:
        click.echo("opened in your browser; the address works once", err=True)
    else:
        click.echo("open it in a browser within five minutes; it works once", err=True)
    return 0


def _has_display() -> bool:
    """Whether a browser that we start would be seen by whoever gave the command."""
    if not _on_terminal() or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _on_terminal() -> bool:
    return sys.stdout.isatty()
