"""An outbound proxy that is shut to the other users of its host."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.http import Client
from support.mesh import APPS, Mesh, until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
TELL = "import json, os, time; print(json.dumps({'proxy': os.environ['HTTP_PROXY']}), flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("proxy-auth")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICE)
        mesh.run("hello", [sys.executable, str(APPS / "http_echo.py")], wait=False)
        mesh.run("caller", [sys.executable, "-c", TELL], port="", more=["--proxy-auth", "on"], wait=False)
        mesh.wait_healthy("hello", "caller")
        yield mesh
    finally:
        mesh.stop()


def told(mesh: Mesh) -> str:
    """The HTTP_PROXY of the application that was started last."""
    lines = [line for line in mesh.processes["caller"].output().splitlines() if line.startswith("{")]
    return str(json.loads(lines[-1])["proxy"]) if lines else ""


def curl(proxy: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", "-x", proxy, "http://hello/"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_only_who_has_the_applications_secret_calls_as_the_workload(mesh: Mesh) -> None:
    proxy = until("the application has told its proxy", lambda: told(mesh))
    status, body = curl(proxy)
    assert status == 200
    assert "proxy-authorization" not in body.lower()
    host, port = mesh.proxy_of("caller")
    assert urlsplit(proxy).port == port
    assert Client((host, port))("http://hello/").status == 407
    assert curl(f"http://weft:guess@{host}:{port}")[0] == 407


def test_the_secret_is_in_the_workloads_directory_and_nowhere_else(mesh: Mesh) -> None:
    secret = urlsplit(until("the application has told its proxy", lambda: told(mesh))).password
    assert secret
    directory = mesh.home / "workloads/default/caller"
    holders = {path.name for path in mesh.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()}
    assert holders == {"proxy.secret", "proxy.url"}
    for name in (*holders, "proxy-users"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    shown = "\n".join(command_lines())
    assert secret not in shown
    assert secret not in json.dumps(mesh.items("workloads"))


def command_lines() -> Iterator[str]:
    """Those of the machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def test_an_application_that_is_started_anew_has_another_secret(mesh: Mesh) -> None:
    before = until("the application has told its proxy", lambda: told(mesh))
    mesh.processes["caller"].stop()
    assert not (mesh.home / "workloads/default/caller/proxy.secret").exists()
    mesh.run("caller", [sys.executable, "-c", TELL], port="", more=["--proxy-auth", "on"])
    after = until("the new one has told its proxy", lambda: told(mesh) if told(mesh) != before else "")
    assert curl(before)[0] == 407
    assert curl(after)[0] == 200
