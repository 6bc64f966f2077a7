"""`weft demo`: the book-information application as a mesh, and three things to try."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import weft.bookinfo
from weft.local.client import DEMO_PREFIX
from weft.local.command_line import command_line
from weft.local.facts import dashboard_address, mesh_state
from weft.local.mesh_documents import Describe
from weft.local.meshfile import MeshFile, read_meshfile
from weft.local.names import CONTROL_PLANE
from weft.local.supervisor import STOP_SIGNALS, Plan, Supervisor
from weft.local.unit import Report
from weft.local.up import run_up
from weft.processes.signals import signals_held
from weft.settings.home import Home

_FILES = Path(weft.bookinfo.__file__).parent
GATEWAY = "bookinfo-gateway"

Announce = Callable[[Supervisor, str], None]


def demo_mesh() -> MeshFile:
    """The demo's mesh."""
    return read_meshfile(_FILES / "weft.yaml")


def captured_demo_mesh() -> MeshFile:
    """The same, with applications that know of no proxy."""
    mesh = demo_mesh()
    return replace(mesh, workloads=tuple(replace(each, capture="seccomp") for each in mesh.workloads))


def run_demo(
    home: Home | None,
    report: Report,
    announce: Announce,
    describe: Describe,
    *,
    captured: bool = False,
    shared: bool = False,
) -> int:
    """Run the demo until Ctrl-C, in `home` or in a new temporary one that is removed at the end; the exit code.

    `announce` gets the demo's address. `captured`: connections of its applications are led into their proxies.
    `shared`: its workloads share a proxy.
    """
    mesh = replace(captured_demo_mesh() if captured else demo_mesh(), proxy="shared" if shared else "sidecar")

    def ready(supervisor: Supervisor, urls: Mapping[str, Mapping[str, str]]) -> None:
        announce(supervisor, urls.get(GATEWAY, {}).get("80", ""))

    if home is not None:
        return run_up(Plan(mesh, _FILES, home), report, ready, describe)
    with signals_held(STOP_SIGNALS):  # no directory without its removal
        made = Home(Path(tempfile.mkdtemp(prefix=DEMO_PREFIX)))
        try:
            return run_up(Plan(mesh, _FILES, made, owns_home=True), report, ready, describe)
        finally:
            shutil.rmtree(made.short_directory, ignore_errors=True)
            shutil.rmtree(made.root, ignore_errors=True)


def ready_line(supervisor: Supervisor, address: str) -> str:
    """The line of JSON that ``weft demo -o json`` prints."""
    return json.dumps({"gateway": address, **mesh_state(supervisor)})


def welcome(supervisor: Supervisor, address: str) -> str:
    """What a person reads when the demo is ready."""
    home = str(supervisor.plan.home.root)
    tries = supervisor.plan.home.root / "try"
    shutil.copytree(_FILES / "try", tries, dirs_exist_ok=True)
    weft_apply = ("apply", "--home", home, "--wait", "-f")
    place = " (in this directory)" if command_line().startswith((".", "'.")) else ""
    dashboard = dashboard_address(supervisor.plan.home)
    see = (
        f"""
See it in the dashboard (this address works once; another: {command_line("dashboard", "--home", home)})

    {dashboard}
"""
        if dashboard
        else ""
    )
    shared = supervisor.plan.mesh.proxy == "shared"
    proxies = "the workloads behind one shared Envoy" if shared else "each behind its own Envoy"
    return f"""
The mesh is up: 6 workloads and a gateway, {proxies}, mutual TLS between them.

    {address}/productpage
{see}
Reload the page: the stars change, because three versions of reviews answer in turn.
Then, in another terminal{place}, try

 1. send everybody to reviews v3 (red stars)
      {command_line(*weft_apply, str(tries / "reviews-v3.yaml"))}

 2. make ratings slow: a page with stars takes two seconds longer
      {command_line(*weft_apply, str(tries / "ratings-delay.yaml"))}
    and find out why: the rule and its line
      {command_line("explain", "--home", home, "--from", "reviews-v2", "http://ratings:9080/ratings/0")}
      {command_line("requests", "--home", home)}

 3. cut the control plane: the page goes on working; start it again and it goes on where it was
      {command_line("stop", "--home", home, CONTROL_PLANE)}
      {command_line("restart", "--home", home, CONTROL_PLANE)}

See what is going on:
      {command_line("ps", "--home", home)}
      {command_line("logs", "--home", home, "-f")}

Instead of giving --home each time: export WEFT_HOME={shlex.quote(home)}

Ctrl-C stops everything and leaves nothing behind.
"""
