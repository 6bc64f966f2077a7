"""`weft up` and `weft demo`: a whole mesh on this machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.cli.options import CommandT, command, home_option
from weft.cli.output import problem_text
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.supervisor import Supervisor

    Urls = Mapping[str, Mapping[str, str]]


def _report(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not keep us from stopping in order
        click.echo(text, err=True)


def _facts_option(function: CommandT) -> CommandT:
    """``-o json``: facts for programs. ``--json`` is what it was called first."""
    function = click.option("--json", "as_json", is_flag=True, hidden=True)(function)
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="With json: when ready, print one line of JSON with addresses and process ids.",
    )(function)


@command("up", "weft up", "weft up -f shop/weft.yaml --home /tmp/shop", "weft up -d && weft ps && weft down")
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
@click.option(
    "-d", "--detach", is_flag=True, help="Run in the background and return when all is ready; see `weft down`."
)
@_facts_option
def up(home: Home, file: Path, timeout: float, detach: bool, output: str, as_json: bool) -> int:
    """Start a whole mesh from weft.yaml, or follow a change of it.

    Starts the control plane, every workload with its sidecar, and every gateway; says when all is ready; stays until
    Ctrl-C and then stops everything in order. A process that crashes is started again. When weft.yaml is saved, or this
    command is given again, what changed is started and stopped, and nothing else.
    """
    from weft.local.command_line import command_line
    from weft.local.meshfile import MeshFileError, read_meshfile
    from weft.local.supervisor import Plan
    from weft.local.up import run_up

    as_json = as_json or output == "json"
    try:
        mesh = read_meshfile(file)
    except MeshFileError as error:
        demo = command_line("demo")
        hint = "" if file.exists() else f"\nname the file with -f, or see a whole mesh first with: {demo}"
        raise FailedError(f"{file} cannot be used\n{error}{hint}") from error
    path = file.resolve()
    plan = Plan(mesh, path.parent, home, timeout, path)
    if detach:
        from weft.local.detach import up_detached

        if as_json:
            raise click.UsageError("-o json is for a `weft up` that stays; with --detach use `weft ps -o json`")
        return up_detached(plan, _report)
    return run_up(plan, _report, _print_facts if as_json else _say_ready, problem_text)


def _print_facts(supervisor: Supervisor, urls: Urls) -> None:
    import json

    from weft.local.facts import mesh_state

    click.echo(json.dumps({"gateways": urls, **mesh_state(supervisor)}))


def _say_ready(supervisor: Supervisor, urls: Urls) -> None:
    from weft.local.command_line import command_line
    from weft.local.facts import dashboard_address
    from weft.local.record import Phase
    from weft.model.addresses import is_loopback

    for name, listeners in urls.items():
        for listener, where in listeners.items():
            _report(f"{name}: listener {listener} is at {where}")
    home = str(supervisor.plan.home.root)
    bind = supervisor.plan.mesh.bind
    if not is_loopback(bind):
        join = command_line("token", "create", "--home", home, "--service-account", "NAME")
        _report(f"other hosts join at {bind}; this prints the command for one:\n  {join}")
    status = [unit.status.value for unit in supervisor.units.values()]
    missing = [f"{one.name} ({one.phase})" for one in status if one.phase is not Phase.RUNNING]
    but = f", but for {', '.join(missing)}" if missing else ""
    _report(f"the mesh is up{but}; see it with\n  {command_line('ps', '--home', home)}")
    again = command_line("dashboard", "--home", home)
    address = dashboard_address(supervisor.plan.home) if sys.stderr.isatty() else None  # a log is no place for it
    if address:
        _report(f"the dashboard, through an address that works once (another: {again}):\n  {address}")
    else:
        _report(f"the dashboard: {again}")


def _check_capture() -> None:
    from weft.agent.seccomp.mode import why_not_seccomp
    from weft.cli.failure import FailedError

    if why_not := why_not_seccomp():
        raise FailedError(f"--capture does not work here: {why_not}; see docs/capture.md")


@command(
    "demo",
    "weft demo",
    "weft demo --shared-proxy",
    "weft demo --capture",
    "weft demo --home /tmp/bookinfo",
    "weft demo -o json > demo.json &",
)
@click.option(
    "--home",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep everything in DIR.  [default: a temporary directory]",
)
@click.option(
    "--capture",
    "captured",
    is_flag=True,
    help="Applications know of no proxy: their connections are led into it, by seccomp (Linux). See docs/capture.md.",
)
@click.option("--shared-proxy", "shared", is_flag=True, help="One Envoy for all workloads, instead of one for each.")
@_facts_option
def demo(directory: Path | None, captured: bool, shared: bool, output: str, as_json: bool) -> int:
    """Start the demo application as a mesh and say what to try.

    The book-information application: a product page made of details, reviews (three versions) and ratings. Everything
    lives in a temporary directory and is gone after Ctrl-C.
    """
    from weft.local.demo import ready_line, run_demo, welcome

    if captured and shared:
        raise click.UsageError("--capture and --shared-proxy: a shared proxy captures nothing; give one of them")
    if captured:
        _check_capture()

    def announce(supervisor: Supervisor, address: str) -> None:
        click.echo(ready_line(supervisor, address) if as_json or output == "json" else welcome(supervisor, address))

    home = Home(directory.expanduser().absolute()) if directory else None
    return run_demo(home, _report, announce, problem_text, captured=captured, shared=shared)
