"""`weft restart`, `weft stop` and `weft down`: orders to the `weft up` of a home."""

from __future__ import annotations

from typing import Literal

import click

from weft.cli.complete import complete_process
from weft.cli.failure import ExitCode, FailedError
from weft.cli.options import command, home_option
from weft.settings.home import Home


@command("restart", "weft restart reviews-v1", "weft restart")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_process)
@home_option
def restart(names: tuple[str, ...], home: Home) -> int:
    """Restart processes of the mesh.

    NAME is a workload or gateway of weft.yaml, or `control-plane`; all of them without one. One after the other is
    stopped in order and started with the settings it has, so that no request fails where another instance serves.
    """
    return _order(home, "restart", names)


@command("stop", "weft stop reviews-v1", "weft stop")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_process)
@home_option
def stop(names: tuple[str, ...], home: Home) -> int:
    """Stop processes of the mesh.

    NAME is a workload or gateway of weft.yaml, or `control-plane`; all of them without one. They stay stopped until
    `weft restart NAME` or `weft up`; the `weft up` of the mesh stays, too.
    """
    return _order(home, "stop", names)


@command("down", "weft down", "weft down --home /tmp/shop")
@home_option
def down(home: Home) -> int:
    """Stop the mesh.

    As Ctrl-C at its `weft up`: everything stops in order, and nothing is left behind. What a killed `weft up` has left
    is ended, too.
    """
    from weft.local.down import stop_mesh

    text, ended = stop_mesh(home)
    click.echo(text, err=True)
    return ExitCode.OK if ended else ExitCode.TIMEOUT


def _order(home: Home, do: Literal["restart", "stop"], names: tuple[str, ...]) -> int:
    from weft.local.orders import NobodyUp, Order, give_order

    try:
        return give_order(home, Order(do, names), lambda text: click.echo(text, err=True))
    except NobodyUp as error:
        from weft.local.carried import carried_text, carrier_of
        from weft.local.client import running_demos

        for name in names:
            if carrier := carrier_of(home, name):
                raise FailedError(carried_text(name, carrier)) from error
        demos = "".join(f"\n  a demo runs in: {other}" for other in running_demos())
        raise FailedError(f"no `weft up` runs in {home.root}; see `weft ps`{demos}", ExitCode.UNREACHABLE) from error
