"""`weft dashboard`: the control plane's web page, through a one-time address."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import PortNumber, command, home_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.client import AdminClient
    from weft.local.door import Door


@command(
    "dashboard",
    "weft dashboard",
    "weft dashboard --no-open",
    "weft dashboard -o json",
    "weft --context prod dashboard --port 15080",
)
@home_option
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.option("--port", type=PortNumber(least=0), default=0, help="For a cluster: the port here.  [default: any]")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With json: the address and until when it works; no browser is opened.",
)
def dashboard(home: Home, no_open: bool, port: int, output: str) -> int:
    """Open the control plane's web page.

    The address works once, for five minutes, and signs one browser in for twelve hours or until the control plane is
    restarted. Over SSH, forward the port and open the address on your side: ssh -L 15080:127.0.0.1:15080 HOST. Of a
    control plane in a cluster a port of this host is the page, until Ctrl-C, which ends the session, too.
    """
    from weft.local.client import AdminClient

    client = AdminClient(home)
    found = client.call("POST", "dashboard", {})
    if client.door is not None:
        return _in_cluster(client, client.door, found, port, output, no_open=no_open)
    _show(found, output, no_open=no_open)
    return 0


def _show(found: dict[str, Any], output: str, *, no_open: bool) -> None:
    import json
    import webbrowser

    if output == "json":
        click.echo(json.dumps(found))
        return
    opened = not no_open and _has_display() and webbrowser.open(found["url"])
    click.echo(found["url"])
    if opened:
        click.echo("opened in your browser; the address works once", err=True)
    else:
        click.echo("open it in a browser within five minutes; it works once", err=True)


def _in_cluster(
    client: AdminClient, door: Door, found: dict[str, Any], port: int, output: str, *, no_open: bool
) -> int:
    """The page at a port of this host, until Ctrl-C. What was opened is ended with it."""
    import contextlib
    from urllib.parse import parse_qs, urlsplit

    from weft.local.client import RefusedError, UnreachableError
    from weft.local.relay import Relay

    where = urlsplit(found["url"])
    try:
        relay = Relay(door, port)
    except OSError as error:
        raise click.UsageError(f"--port {port}: {error.strerror}") from error
    try:
        _show({**found, "url": f"http://{relay.address}{where.path}?{where.query}"}, output, no_open=no_open)
        click.echo(f"{door.title}; Ctrl-C ends it", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            relay.run()
    finally:
        relay.close()
        with contextlib.suppress(UnreachableError, RefusedError):
            client.call("DELETE", "dashboard", {"code": parse_qs(where.query)["code"][0]})
    return 0


def _has_display() -> bool:
    """Whether a browser that we start would be seen by whoever gave the command."""
    if not _on_terminal() or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _on_terminal() -> bool:
    return sys.stdout.isatty()
