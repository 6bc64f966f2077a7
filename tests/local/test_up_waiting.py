"""What `weft up` waits for before it says that the mesh is up, when weft.yaml was saved meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

from local.test_up import ECHO, MESH, Up
from support.mesh import until


def test_what_does_not_get_ready_is_told_and_keeps_no_saved_file_waiting(tmp_path: Path) -> None:
    """Who is still starting then is waited for."""
    deaf = '  - {name: deaf, ports: ["9000:auto"], command: [sleep, "600"]}\ngateways:'
    slow = MESH.replace(
        f'"{sys.executable}", "{ECHO}", "hello"', f'sh, -c, "sleep 15; exec {sys.executable} {ECHO} hello"'
    )
    up = Up(tmp_path / "mesh", slow.replace("gateways:", deaf))
    try:
        until("it is told", lambda: up.said("deaf: not ready after 10 s"), 60)
        (up.directory / "weft.yaml").write_text(slow)
        until("it is followed", lambda: up.said("stop: deaf; unchanged: control-plane, web, front"))
        assert up.said("not waited for any longer: deaf")
        until("all is well", lambda: up.said("the mesh is up, 3 processes"))
        assert up.page() == "hello\n"
    finally:
        assert up.interrupt() == 0
