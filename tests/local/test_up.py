"""`weft up` as processes: start, failure, interruption, what a killed one leaves, a control plane started by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.mesh import WEFT, alive, cli, until

ECHO = Path(__file__).parents[2] / "examples" / "shop" / "server.py"
MESH = f"""\
apply: [documents.yaml]
workloads:
  - name: web
    labels: {{app: web}}
    ports: ["80:auto"]
    command: ["{sys.executable}", "{ECHO}", "hello"]
    healthCheck: {{http: /health}}
gateways:
  - name: front
    listen: {{80: auto}}
"""
DOCUMENTS = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, name: http}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: front}]
  rules:
    - backendRefs: [{name: web, port: 80}]
"""


class Up:
    """One `weft up` in a directory of its own."""

    def __init__(self, directory: Path, mesh: str = MESH) -> None:
        self.home = directory / "home"
        self.directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "weft.yaml").write_text(mesh)
        (directory / "documents.yaml").write_text(DOCUMENTS)
        self.words = [*WEFT, "up", "--home", str(self.home), "-f", str(directory / "weft.yaml")]
        self.log = directory / "up.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it (again)."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "WEFT_COMMAND": "./run weft"},
            )
        return self.process

    def said(self, text: str) -> bool:
        """Whether it said so; raises with all it said when it ended without."""
        said = self.log.read_text()
        if text not in said and self.process.poll() is not None:
            raise RuntimeError(said)
        return text in said

    def pids(self) -> set[int]:
        """Everything that belongs to the mesh, by the home's own records."""
        found = {one["pid"] for one in json.loads((self.home / "up.json").read_text())["processes"]}
        for path in self.home.glob("workloads/*/*/state.json"):
            state = json.loads(path.read_text())
            found |= {state[name]["pid"] for name in ("agent", "envoy", "application") if state.get(name)}
        return found

    def gateway(self) -> str:
        """The gateway's address."""
        state = json.loads((self.home / "workloads/default/front/state.json").read_text())
        return f"http://127.0.0.1:{state['listen'][0][1]}/"

    def page(self) -> str:
        """The page behind the gateway."""

        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.gateway(), timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    mesh = Up(tmp_path / "mesh")
    yield mesh
    mesh.interrupt()


def gone(pids: set[int]) -> bool:
    return not any(alive(pid) for pid in pids)


def test_a_mesh_starts_serves_and_stops(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    assert up.page() == "hello\n"
    pids = up.pids()
    assert len(pids) == 6
    assert up.interrupt() == 0
    assert gone(pids)
    assert not (up.home / "up.json").exists()
    assert not (up.home / "control-plane" / "endpoints.json").exists()
    assert not list(up.home.rglob("*.sock"))


def test_a_killed_up_is_cleaned_up_by_the_next(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    pids = up.pids()
    up.process.kill()
    up.process.wait()
    assert not gone(pids), "the mesh goes on without its `weft up`"
    up.start()
    until("it is up again", lambda: up.said("the mesh is up"), 60)
    assert "left behind" in up.log.read_text()
    assert gone(pids)
    assert up.page() == "hello\n"


def test_everything_killed_leaves_envoys_that_the_next_up_ends(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    pids = up.pids()
    agents = {one["pid"] for one in json.loads((up.home / "up.json").read_text())["processes"]}
    for pid in (up.process.pid, *agents):
        os.kill(pid, signal.SIGKILL)
    up.process.wait()
    assert not gone(pids - agents)
    up.start()
    until("it is up again", lambda: up.said("the mesh is up"), 60)
    assert gone(pids)


def test_the_control_plane_may_die_and_is_stopped_when_started_by_hand(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    first = json.loads((up.home / "control-plane/endpoints.json").read_text())["pid"]
    os.kill(first, signal.SIGKILL)
    until("it is reported", lambda: up.said(f"serve --home {up.home}"))
    assert up.page() == "hello\n"
    assert cli(up.home, "get", "workloads", check=False).returncode == 3
    again = subprocess.Popen([*WEFT, "serve", "--home", str(up.home)], stderr=subprocess.DEVNULL)
    try:
        until("it answers", lambda: cli(up.home, "get", "workloads", check=False).returncode == 0)
        assert up.interrupt() == 0
        assert again.wait(20) == 0
    finally:
        again.kill()
        again.wait()


def test_an_agent_that_died_is_started_again_as_told_and_stopped_with_the_mesh(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    before = json.loads((up.home / "workloads/default/web/state.json").read_text())
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    until("it is told how to start it again", lambda: up.said(" && ") and up.said("run --home"))
    told = next(line for line in up.log.read_text().splitlines() if " && " in line)
    with subprocess.Popen(told, shell=True, stderr=subprocess.DEVNULL, start_new_session=True) as again:

        def agent() -> int:
            state = json.loads((up.home / "workloads/default/web/state.json").read_text())
            assert state["application"] == before["application"]
            pid: int = state["agent"]["pid"]
            return 0 if pid == before["agent"]["pid"] else pid

        pid = until("it has taken over", agent)
        assert up.page() == "hello\n"
        assert up.interrupt() == 0
        assert again.wait(20) == 128 + signal.SIGTERM
    for number in (pid, before["application"]["pid"], before["envoy"]["pid"]):
        assert not alive(number)


def test_a_workload_that_dies_is_reported_and_the_rest_stays(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    state = json.loads((up.home / "workloads/default/web/state.json").read_text())
    os.kill(state["application"]["pid"], signal.SIGTERM)
    until("it is reported", lambda: up.said("web has ended") or up.said("web was ended"))
    assert up.process.poll() is None
    assert cli(up.home, "get", "gateway", "front").returncode == 0


def test_a_program_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    mesh = MESH.replace(f'"{ECHO}", "hello"', '"-c", "raise SystemExit(\'no more books\')"')
    up = Up(tmp_path / "mesh", mesh)
    assert up.process.wait(60) == 1
    said = up.log.read_text()
    assert "web has ended with exit code 1" in said
    assert "no more books" in said
    assert said.rstrip().endswith("stopped")


def test_a_missing_directory_is_told_and_nothing_stays(tmp_path: Path) -> None:
    up = Up(tmp_path / "mesh", MESH.replace("    labels:", "    workingDirectory: nowhere\n    labels:"))
    assert up.process.wait(60) == 1
    assert "there is no directory" in up.log.read_text()
    assert not (up.home / "up.json").exists()


def test_refused_documents_are_told_with_their_line(tmp_path: Path) -> None:
    up = Up(tmp_path / "mesh", MESH.replace("documents.yaml", "bad.yaml"))
    assert up.process.wait(60) == 1  # the file is written too late: it is missing
    (up.directory / "bad.yaml").write_text(DOCUMENTS.replace("selector", "selektor"))
    up.start()
    assert up.process.wait(60) == 1
    assert "bad.yaml:5: spec.selektor" in up.log.read_text()


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.7, 1.0, 1.4, 2.0])
def test_an_interrupt_at_any_moment_leaves_nothing(tmp_path: Path, seconds: float) -> None:
    up = Up(tmp_path / "mesh")
    seen: set[int] = set()

    def watched() -> Any:
        if (up.home / "up.json").exists():
            seen.update(up.pids())
        return None

    with pytest.raises(AssertionError):
        until("never", watched, seconds, 0.02)
    code = up.interrupt()
    interpreter_only = code == 1 and "runpy" not in up.log.read_text()  # Python was still starting itself
    assert code in (0, 130, -signal.SIGINT) or interpreter_only
    if (up.home / "up.json").exists():
        seen.update(up.pids())
    assert gone(seen)
    assert not (up.home / "up.json").exists()
    assert not list(tmp_path.rglob("*.sock"))


def test_a_second_interrupt_hurries(tmp_path: Path) -> None:
    stubborn = f'"{sys.executable}", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"'
    mesh = MESH.replace(f'"{sys.executable}", "{ECHO}", "hello"', stubborn)
    mesh = mesh.replace('    ports: ["80:auto"]\n', "").replace("    healthCheck: {http: /health}\n", "")
    up = Up(tmp_path / "mesh", mesh)
    until("it is up", lambda: up.said("the mesh is up"), 60)
    pids = up.pids()
    up.process.send_signal(signal.SIGINT)
    until("it stops", lambda: up.said("stopping"))
    application = json.loads((up.home / "workloads/default/web/state.json").read_text())["application"]["pid"]
    up.process.send_signal(signal.SIGINT)
    until("it hurries", lambda: not alive(application), 8)
    assert up.process.wait(30) == 0
    assert "hurrying" in up.log.read_text()
    assert gone(pids)


def test_a_second_up_does_nothing(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    pids = up.pids()
    second = subprocess.run(up.words, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 0
    assert f"already (pid {up.process.pid}); nothing to do" in second.stderr
    assert up.pids() == pids
    assert up.page() == "hello\n"


def test_an_agent_restarts_in_place_and_takes_its_processes_over(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    before = up.pids()
    agent = json.loads((up.home / "workloads/default/web/state.json").read_text())["agent"]["pid"]
    os.kill(agent, signal.SIGHUP)
    log = up.home / "logs" / "web.log"
    until("it took over", lambda: "took over" in log.read_text())
    assert b"weft.cli.main\0run\0" in Path(f"/proc/{agent}/cmdline").read_bytes()
    assert up.page() == "hello\n"
    assert up.pids() == before
    assert up.interrupt() == 0
    assert gone(before)
