"""`weft up` as processes: start, failure, interruption, what a killed one leaves, a control plane started by hand."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.http import Client
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
        units = json.loads((self.home / "up.json").read_text())["units"]
        found = {one["process"]["pid"] for one in units if one["process"]}
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
        return Client()(self.gateway()).body.decode()

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
    units = json.loads((up.home / "up.json").read_text())["units"]
    agents = {one["process"]["pid"] for one in units}
    for pid in (up.process.pid, *agents):
        os.kill(pid, signal.SIGKILL)
    up.process.wait()
    assert not gone(pids - agents)
    up.start()
    until("it is up again", lambda: up.said("the mesh is up"), 60)
    assert gone(pids)


def control_plane(up: Up) -> int:
    pid: int = json.loads((up.home / "control-plane/endpoints.json").read_text())["pid"]
    return pid


def state(up: Up, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((up.home / f"workloads/default/{name}/state.json").read_text())
    return found


def test_a_control_plane_that_dies_is_started_again(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    first = control_plane(up)
    os.kill(first, signal.SIGKILL)
    until("it is reported", lambda: up.said("control-plane was ended by SIGKILL"))
    assert up.page() == "hello\n"
    until("it answers", lambda: cli(up.home, "get", "workloads", check=False).returncode == 0)
    assert control_plane(up) != first


def test_a_control_plane_that_was_stopped_may_be_run_by_hand(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    cli(up.home, "stop", "control-plane")
    assert up.page() == "hello\n"
    assert cli(up.home, "get", "workloads", check=False).returncode == 3
    log = up.directory / "again.log"
    with log.open("wb") as said:
        again = subprocess.Popen([*WEFT, "serve", "--home", str(up.home)], stderr=said)

    def answers() -> bool:
        if again.poll() is not None:
            raise RuntimeError(log.read_text())
        return cli(up.home, "get", "workloads", check=False).returncode == 0

    try:
        until("it answers", answers)
        assert up.interrupt() == 0
        assert again.wait(60) == 0
    finally:
        again.kill()
        again.wait()


def test_an_agent_that_dies_is_started_again_and_takes_its_processes_over(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    before = {name: state(up, name) for name in ("web", "front")}
    for one in before.values():
        os.kill(one["agent"]["pid"], signal.SIGKILL)
    until("it is reported", lambda: up.said("its proxy and application go on"))

    def taken_over(name: str) -> bool:
        now = state(up, name)
        assert (now["envoy"], now["application"]) == (before[name]["envoy"], before[name]["application"])
        return bool(now["agent"] != before[name]["agent"] and alive(now["agent"]["pid"]))

    for name in before:
        until(f"{name} is taken over", lambda: taken_over(name))  # noqa: B023
    assert up.page() == "hello\n"
    pids = up.pids()
    assert up.interrupt() == 0
    assert gone(pids)


def test_an_application_that_crashes_is_started_again_and_shown(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    os.kill(state(up)["application"]["pid"], signal.SIGKILL)
    until("it is reported", lambda: up.said("web was ended by SIGKILL; starting it again in 1 s"))
    shown = process(up, "web")
    assert shown["restarts"] == 1 or shown["state"] == "crashed"
    until("it is back", lambda: process(up, "web")["state"] == "running")
    assert process(up, "web")["restarts"] == 1
    until("it serves", lambda: up.page() == "hello\n")
    os.kill(state(up)["agent"]["pid"], signal.SIGKILL)  # another failure, and the first of its kind
    until("it is reported", lambda: up.said("its proxy and application go on; starting it again now"))


def process(up: Up, name: str) -> dict[str, Any]:
    """What `weft ps` says of a process."""
    listed: list[dict[str, Any]] = json.loads(cli(up.home, "ps", "-o", "json", check=False).stdout)
    return {one["name"]: one for one in listed}[name]


def test_an_application_that_cannot_start_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = """  - {name: sick, command: [python3, -c, "raise SystemExit('no more books')"]}
  - {name: absent, command: [/no/such/program]}
  - {name: lost, command: [python3], workingDirectory: nowhere}
gateways:
"""
    up = Up(tmp_path / "mesh", MESH.replace("gateways:\n", bad))
    try:
        until("it is up", lambda: up.said("the mesh is up, but for"), 60)
        until("it crashes", lambda: up.said("sick has ended with exit code 1; starting it again in 1 s"))
        said = up.log.read_text()
        assert "no more books" in said
        assert "cannot start /no/such/program: no such program" in said
        assert "lost cannot be started: there is no directory" in said
        assert up.page() == "hello\n"
        shown = cli(up.home, "ps", check=False)
        assert shown.returncode == 1
        assert "exit code 127" in shown.stdout
        again = cli(up.home, "restart", "absent", check=False)
        assert again.returncode == 1
        assert "error: not up: absent (crashed)" in again.stderr
    finally:
        assert up.interrupt() == 0


def test_refused_documents_are_told_with_their_line(tmp_path: Path) -> None:
    up = Up(tmp_path / "mesh", MESH.replace("documents.yaml", "bad.yaml"))
    assert up.process.wait(60) == 1  # the file is written too late: it is missing
    (up.directory / "bad.yaml").write_text(DOCUMENTS.replace("selector", "selektor"))
    up.start()
    assert up.process.wait(60) == 1
    assert "bad.yaml:5: error: spec.selektor" in up.log.read_text()


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


def second(up: Up, *words: str) -> Any:
    return subprocess.run(words or up.words, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_up_of_the_same_file_changes_nothing(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    pids = up.pids()
    again = second(up)
    assert again.returncode == 0
    assert "unchanged: control-plane, web, front" in again.stderr
    assert f"front: listener 80 is at {up.gateway().rstrip('/')}" in again.stderr
    assert up.pids() == pids
    assert up.page() == "hello\n"


def test_another_mesh_in_a_running_home_is_refused_by_name(up: Up, tmp_path: Path) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    other = tmp_path / "other.yaml"
    other.write_text("workloads: []\n")
    again = second(up, *up.words[:-1], str(other))
    assert again.returncode == 1
    assert f"another mesh is up in {up.home}: {up.directory / 'weft.yaml'}" in again.stderr
    assert up.page() == "hello\n"


def test_a_saved_file_starts_and_stops_what_changed(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    web, front, serve = state(up), state(up, "front"), control_plane(up)
    two = MESH.replace(
        "gateways:",
        """\
  - {name: second, labels: {app: second}, command: [sleep, "600"]}
gateways:""",
    )
    (up.directory / "weft.yaml").write_text(two)
    until("it starts", lambda: up.said("start: second; unchanged: control-plane, web, front"))
    until("it runs", lambda: process(up, "second")["state"] == "running")
    assert (state(up)["agent"], state(up, "front")["agent"]) == (web["agent"], front["agent"])
    (up.directory / "weft.yaml").write_text(MESH.replace('"hello"', '"good day"'))
    until("it changes", lambda: up.said("restart, changed: web; stop: second; unchanged: control-plane, front"))
    until("the page is new", lambda: up.page() == "good day\n")
    assert (state(up, "front")["agent"], control_plane(up)) == (front["agent"], serve)
    (up.directory / "weft.yaml").write_text(MESH.replace("labels", "lables"))
    until("it is refused", lambda: up.said("weft.yaml cannot be used, and nothing was changed\n"))
    assert up.said("unknown field 'lables'")
    (up.directory / "weft.yaml").write_text("trustDomain: other.example\n" + MESH)
    until("it is refused", lambda: up.said("cannot change while the mesh is up: --trust-domain other.example"))
    assert up.page() == "good day\n"


def test_documents_that_cannot_be_looked_for_do_not_end_the_mesh(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    long = "a" * 300
    (up.directory / "weft.yaml").write_text(MESH.replace("documents.yaml", long))
    until("it is refused", lambda: up.said(f"error: [Errno {errno.ENAMETOOLONG}]"))
    assert up.page() == "hello\n"
    assert second(up, *WEFT, "restart", "--home", str(up.home), "web").returncode == 0


def test_logs_restart_stop_and_down(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    before = state(up)
    assert "weft run web: healthy" in cli(up.home, "logs", "web").stdout
    assert "control-plane | " in cli(up.home, "logs").stdout
    assert "did you mean 'front'?" in cli(up.home, "logs", "frond", check=False).stderr
    cli(up.home, "restart", "web")
    assert "web/proxy     | " in cli(up.home, "logs", "--proxy").stdout
    assert state(up)["application"] != before["application"]
    until("it serves", lambda: up.page() == "hello\n")
    assert "did you mean 'web'?" in cli(up.home, "stop", "wev", check=False).stderr
    cli(up.home, "stop", "web")
    assert process(up, "web")["state"] == "stopped"
    assert second(up).returncode == 0
    until("it serves", lambda: up.page() == "hello\n")
    pids = up.pids()
    assert cli(up.home, "down").stderr == "stopped\n"
    assert up.process.wait(60) == 0
    assert gone(pids)
    assert "nothing is up" in cli(up.home, "down").stderr
    assert cli(up.home, "restart", check=False).returncode == 3


def append(log: Path, text: str) -> int:
    with log.open("a") as file:
        return file.write(text)


def test_logs_follow_what_is_added(up: Up) -> None:
    until("it is up", lambda: up.said("the mesh is up"), 60)
    out = up.directory / "logs.out"
    with (
        out.open("wb") as file,
        subprocess.Popen([*WEFT, "logs", "--home", str(up.home), "-f", "--tail", "0", "front"], stdout=file) as logs,
    ):
        try:
            log = up.home / "logs" / "front.log"
            until("it follows", lambda: append(log, "new\n") and "new" in out.read_text())
            os.truncate(log, 0)
            until("it begins anew", lambda: append(log, "newer\n") and "newer" in out.read_text())
        finally:
            logs.send_signal(signal.SIGINT)
        assert logs.wait(60) == 130


def test_problems_of_followed_files_are_said_at_once(tmp_path: Path) -> None:
    up = Up(tmp_path / "mesh", MESH.replace("apply:", "documents:"))
    try:
        until("it is up", lambda: up.said("the mesh is up"), 60)
        url = f"front: listener 80 is at {up.gateway().rstrip('/')}"
        assert url in up.log.read_text()
        assert process(up, "front")["addresses"] == [up.gateway().rstrip("/")]
        documents = up.directory / "documents.yaml"
        documents.write_text(DOCUMENTS.replace("selector:", "selektor:"))
        until("it is said", lambda: up.said("documents.yaml:5: error: spec.selektor: unknown field"))
        documents.write_text(DOCUMENTS.replace("port: 80, protocol", "port: 81, protocol"))
        until("the listener is gone", lambda: up.said("front: listener 80 is gone"))
        assert process(up, "front")["addresses"] != [url]
    finally:
        assert up.interrupt() == 0


def test_a_killed_up_that_had_not_written_down_a_process_leaves_none(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys, pathlib
from weft.local.commands import Launch
from weft.local.processes import spawn
logs = pathlib.Path({str(tmp_path)!r})
alone = sys.argv[1] == "fork"
launch = Launch("one", ("version",), logs, {{}}, "workload", ("default", "one"))
print(spawn(launch, logs, os.environ, alone=alone).identity.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    for how in ("fork", "execute"):
        killed = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=False)
        until("it has ended", lambda: not alive(int(killed.stdout)))  # noqa: B023
        assert (tmp_path / "one.log").read_text() == "", "it never began"


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


def test_detached_it_is_ready_on_return_and_ended_by_down(tmp_path: Path) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    home = directory / "home"
    (directory / "weft.yaml").write_text(MESH)
    (directory / "documents.yaml").write_text(DOCUMENTS)
    try:
        said = cli(home, "up", "-d", "-f", str(directory / "weft.yaml")).stderr
        assert "web: ready" in said and "front: listener 80 is at http://127.0.0.1:" in said
        assert "unchanged" not in said
        shown = json.loads(cli(home, "ps", "-o", "json").stdout)
        assert {one["state"] for one in shown} == {"running"}
        assert "the mesh is up" in cli(home, "logs", "_up").stdout
    finally:
        cli(home, "down")
    (directory / "documents.yaml").write_text("nonsense")
    failed = cli(home, "up", "-d", "-f", str(directory / "weft.yaml"), check=False)
    assert failed.returncode == 1
    assert "was refused" in failed.stdout + failed.stderr
    assert not list(home.rglob("*.sock"))
