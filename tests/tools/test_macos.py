"""All that is not Linux's alone, on a simulated macOS: every module is imported, a mesh runs in explicit mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import weft
from support.mesh import APPS
from weft.testing.mesh import running_mesh

SIMULATION = Path(__file__).parents[1] / "support" / "macos"
IMPORTS = """
import importlib, pkgutil, sys, weft, json
assert sys.platform == "darwin"
failed = {}
for found in pkgutil.walk_packages(weft.__path__, "weft."):
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except Exception as error:
        failed[found.name] = repr(error)
print(json.dumps([failed, len([name for name in sys.modules if name.startswith("weft.")])]))
"""
LIFE = """
import asyncio, os, socket, sys
from weft.processes.name import name_of
from weft.processes.peer import peer_of
from weft.processes.watch import start_process
from weft.settings.home import default_home
from weft.settings.ports import own_ports

async def main():
    assert not hasattr(os, "pidfd_open")
    watch = start_process(["sleep", "60"], None, os.environ)
    assert watch.name.alive
    await watch.stop(5)
    assert watch.exit_code == 128 + 15, watch.exit_code
    assert name_of(watch.name.pid) is None
    one, other = socket.socketpair()
    assert peer_of(one) == (os.getuid(), -1)
    assert len(own_ports()) > 1000
    assert "Library" in str(default_home())

asyncio.run(main())
"""

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 80}]}
"""
MESH = """
apply: [services.yaml]
workloads:
  - {name: echo, labels: {app: echo}, ports: ["80:auto"], command: ["{python}", ECHO]}
  - {name: caller, upstreams: ["echo:80"], command: [sleep, "600"]}
"""


def python(script: str) -> str:
    """What a script says there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "XDG_"))}
    path = os.pathsep.join([str(SIMULATION), str(Path(weft.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**environment, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported_without_what_linux_alone_has() -> None:
    failed, count = json.loads(python(IMPORTS))
    assert failed == {}
    assert count > 500


def test_processes_users_and_ports_are_known_by_the_systems_other_words() -> None:
    python(LIFE)


def test_a_mesh_runs_in_explicit_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services.yaml").write_text(SERVICES)
    (tmp_path / "weft.yaml").write_text(MESH.replace("ECHO", str(APPS / "http_echo.py")))
    monkeypatch.setenv("PYTHONPATH", str(SIMULATION))
    with running_mesh(tmp_path / "weft.yaml") as mesh:
        workloads = {one["name"]: one for one in mesh.client.get("workloads")["workloads"]}
        listen = workloads["caller"]["upstreams"][0]["listen"]
        with urllib.request.urlopen(f"http://{listen['host']}:{listen['port']}/", timeout=10) as answer:
            told = json.load(answer)
    headers = {name.lower(): value for name, value in told["headers"]}
    assert "URI=spiffe://" in headers["x-forwarded-client-cert"], "with mutual TLS"
