"""`weft up` and `weft demo`: a whole mesh on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.cli.options import command, home_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.supervisor import Supervisor


def _report(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not keep us from stopping in order
        click.echo(text, err=True)


@command("up", "weft up", "weft up -f shop/weft.yaml --home /tmp/shop")
@home_option
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    default=Path("weft.yaml"),
    show_default=True,
    help="The mesh: workloads, gateways, documents.",
)
@click.option("--timeout", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds to start.")
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON with addresses and pids.")
def up(home: Home, file: Path, timeout: float, as_json: bool) -> int:
    """Start a whole mesh from weft.yaml.

    Starts the control plane, every workload with its sidecar, and every gateway; says when all is ready; stays until
    Ctrl-C and then stops everything in order. When the mesh is up in this home already, it says so and does nothing.
    """
    from weft.local.command_line import command_line  # noqa: PLC0415
    from weft.local.meshfile import MeshFileError, read_meshfile  # noqa: PLC0415
    from weft.local.supervisor import Plan  # noqa: PLC0415
    from weft.local.up import run_up  # noqa: PLC0415

    try:
        mesh = read_meshfile(file)
    except MeshFileError as error:
        demo = command_line("demo")
        hint = "" if file.exists() else f"\nname the file with -f, or see a whole mesh first with: {demo}"
        raise FailedError(f"{file} cannot be used\n{error}{hint}") from error
    return run_up(Plan(mesh, file.absolute().parent, home, timeout), _report, _print_facts if as_json else _say_ready)


def _print_facts(supervisor: Supervisor) -> None:
    import json  # noqa: PLC0415

    from weft.local.facts import gateway_listeners, mesh_state  # noqa: PLC0415

    click.echo(json.dumps({"gateways": gateway_listeners(supervisor), **mesh_state(supervisor)}))


def _say_ready(supervisor: Supervisor) -> None:
    from weft.local.command_line import command_line  # noqa: PLC0415
    from weft.local.facts import gateway_listeners  # noqa: PLC0415
    from weft.model.addresses import is_loopback  # noqa: PLC0415

    for name, listeners in gateway_listeners(supervisor).items():
        for listener, where in listeners.items():
            _report(f"{name}: listener {listener} is at {where}")
        if not listeners:
            _report(f"{name}: no listener yet; is there a Gateway of that name among the documents?")
    home = str(supervisor.plan.home.root)
    bind = supervisor.plan.mesh.bind
    if not is_loopback(bind):
        join = command_line("token", "create", "--home", home, "--service-account", "NAME")
        _report(f"other hosts join at {bind}; this prints the command for one:\n  {join}")
    _report(f"the mesh is up; see it with\n  {command_line('proxy', 'status', '--home', home)}")


@command("demo", "weft demo", "weft demo --home /tmp/bookinfo", "weft demo --json > demo.json &")
@click.option(
    "--home",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep everything in DIR.  [default: a temporary directory]",
)
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON with addresses and pids.")
def demo(directory: Path | None, as_json: bool) -> int:
    """Start the demo application as a mesh and say what to try.

    The book-information application: a product page made of details, reviews (three versions) and ratings. Everything
    lives in a temporary directory and is gone after Ctrl-C.
    """
    from weft.local.demo import ready_line, run_demo, welcome  # noqa: PLC0415

    def announce(supervisor: Supervisor) -> None:
        click.echo(ready_line(supervisor) if as_json else welcome(supervisor))

    home = Home(directory.expanduser().absolute()) if directory else None
    return run_demo(home, _report, announce)
