"""`weft demo`: the book-information application as a mesh, and three things to try."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import weft.bookinfo
from weft.local.client import DEMO_PREFIX, read_endpoints
from weft.local.command_line import command_line
from weft.local.facts import gateway_listeners, mesh_state
from weft.local.meshfile import MeshFile, read_meshfile
from weft.local.supervisor import STOP_SIGNALS, Plan, Report, Supervisor
from weft.local.up import run_up
from weft.processes.signals import signals_held
from weft.settings.home import Home

_FILES = Path(weft.bookinfo.__file__).parent
GATEWAY = "bookinfo-gateway"


def demo_mesh() -> MeshFile:
    """The demo's mesh."""
    return read_meshfile(_FILES / "weft.yaml")


def run_demo(home: Home | None, report: Report, announce: Callable[[Supervisor], None]) -> int:
    """Run the demo until Ctrl-C, in `home` or in a new temporary one that is removed at the end; the exit code."""
    if home is not None:
        return run_up(Plan(demo_mesh(), _FILES, home), report, announce)
    with signals_held(STOP_SIGNALS):  # no directory without its removal
        made = Home(Path(tempfile.mkdtemp(prefix=DEMO_PREFIX)))
        try:
            return run_up(Plan(demo_mesh(), _FILES, made, owns_home=True), report, announce)
        finally:
            shutil.rmtree(made.short_directory, ignore_errors=True)
            shutil.rmtree(made.root, ignore_errors=True)


def demo_state(supervisor: Supervisor) -> dict[str, Any]:
    """What ``weft demo --json`` prints."""
    return {"gateway": gateway_address(supervisor), **mesh_state(supervisor)}


def gateway_address(supervisor: Supervisor) -> str:
    """The address of the demo's gateway."""
    return f"http://{gateway_listeners(supervisor)[GATEWAY]['80']}"


def welcome(supervisor: Supervisor) -> str:
    """What a person reads when the demo is ready."""
    home = str(supervisor.plan.home.root)
    tries = supervisor.plan.home.root / "try"
    shutil.copytree(_FILES / "try", tries, dirs_exist_ok=True)
    weft_apply = ("apply", "--home", home, "--wait", "-f")
    endpoints = read_endpoints(supervisor.plan.home)
    pid = endpoints.pid if endpoints else 0
    place = " (in this directory)" if command_line().startswith((".", "'.")) else ""
    return f"""
The mesh is up: 6 workloads and a gateway, each behind its own Envoy, mutual TLS between them.

    {gateway_address(supervisor)}/productpage

Reload the page: the stars change, because three versions of reviews answer in turn.
Then, in another terminal{place}, try

 1. send everybody to reviews v3 (red stars)
      {command_line(*weft_apply, str(tries / "reviews-v3.yaml"))}

 2. make ratings slow: a page with stars takes two seconds longer
      {command_line(*weft_apply, str(tries / "ratings-delay.yaml"))}

 3. cut the control plane: the page goes on working; start it again and it goes on where it was
      kill -9 {pid}
      {command_line("serve", "--home", home)}

See what is going on:
      {command_line("proxy", "status", "--home", home)}

Instead of giving --home each time: export WEFT_HOME={shlex.quote(home)}

Ctrl-C stops everything and leaves nothing behind.
"""


def ready_line(supervisor: Supervisor) -> str:
    """The JSON line."""
    return json.dumps(demo_state(supervisor))
