"""The example of imports in a real mesh: instances of a file are called, by version and by health, and are told of."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.envoy import free_port
from support.mesh import APPS, until
from weft.local.command_line import interpreter
from weft.testing.mesh import RunningMesh, running_mesh

EXAMPLE = Path(__file__).parents[2] / "examples" / "imports"
MESH = """
documents: [group.yaml]
imports: imports.toml
probeNetworks: [127.0.0.0/8]
workloads:
  - {name: caller, upstreams: ["legacy:80"], command: [sleep, "600"]}
"""


@contextlib.contextmanager
def instance(port: int, name: str) -> Iterator[None]:
    """A server that knows nothing of the mesh."""
    environment = {**os.environ, "PORT": str(port), "WEFT_HOST": "127.0.0.1", "WORKLOAD": name}
    with subprocess.Popen([sys.executable, str(APPS / "http_echo.py")], env=environment) as process:
        try:
            until(f"{name} answers", lambda: _answers(port))
            yield
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
        return True
    return False


@pytest.fixture
def ports(tmp_path: Path) -> tuple[int, int]:
    """The example with ports that are free."""
    ports = free_port(), free_port()
    for name in ("imports.toml", "legacy.yaml", "group.yaml"):
        text = (EXAMPLE / name).read_text()
        for given, port in zip(("18481", "18482"), ports, strict=True):
            text = text.replace(given, str(port))
        (tmp_path / name).write_text(text)
    (tmp_path / "weft.yaml").write_text(MESH)
    return ports


def test_imported_instances_are_called_by_version_and_health(tmp_path: Path, ports: tuple[int, int]) -> None:
    with instance(ports[0], "old"), instance(ports[1], "new"), running_mesh(tmp_path / "weft.yaml") as mesh:
        workloads = {one["name"]: one for one in mesh.client.get("workloads")["workloads"]}
        listen = workloads["caller"]["upstreams"][0]["listen"]
        url = f"http://{listen['host']}:{listen['port']}"

        def callees() -> set[str]:
            found = set()
            for _ in range(12):
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
                    found.add(json.load(answer)["workload"])
            return found

        until("both are called", lambda: callees() == {"old", "new"})
        off = urllib.request.Request(f"http://127.0.0.1:{ports[1]}/health/false", method="POST")
        urllib.request.urlopen(off, timeout=10).close()
        until("who does not pass its probe is called no more", lambda: callees() == {"old"})
        assert health(mesh) == ["healthy", "unhealthy"]
        shown = weft(mesh, "get", "workloadentries")
        assert "import file" in shown
        assert "import file" in weft(mesh, "get", "services")
        described = weft(mesh, "describe", "service", "legacy")
        assert "unhealthy" in described
        (tmp_path / "legacy.yaml").unlink()
        until("the outage is told", lambda: "import-outdated" in codes(mesh))
        assert callees() == {"old"}


def codes(mesh: RunningMesh) -> set[str]:
    return {problem["code"] for problem in mesh.client.get("problems")["problems"]}


def health(mesh: RunningMesh) -> list[str]:
    [service] = [one for one in mesh.client.get("services")["services"] if one["name"] == "legacy"]
    return sorted(one["health"] for one in service["ports"][0]["endpoints"])


def weft(mesh: RunningMesh, *words: str) -> str:
    done = subprocess.run(
        [*interpreter(), *words, "--home", str(mesh.home.root)], capture_output=True, text=True, check=True
    )
    return done.stdout
