"""The demo as a newcomer meets it: started, looked at, changed, stopped; many times, also half-way."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.demo import Demo
from support.http import Client
from support.mesh import WEFT, alive, cli, until

EXAMPLES = Path(__file__).parents[2] / "examples"


def processes_below(directory: Path) -> list[str]:
    """Command lines of processes that have `directory` in their command line, environment or working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            text += os.fsencode((entry / "cwd").readlink())
        except OSError:
            continue
        if os.fsencode(directory) in text and alive(int(entry.name)):
            found.append(f"{entry.name}: {text[:200]!r}")
    return found


def assert_nothing_left(demo: Demo, ports: set[int]) -> None:
    assert not processes_below(demo.directory)
    left = [path for path in demo.directory.rglob("*") if path != demo.errors and not path.is_dir()]
    assert not left, left
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[Demo, dict[str, Any]]]:
    """A running demo."""
    demo = Demo(tmp_path / "demo")
    try:
        facts = demo.facts()
        assert alive(facts["control_plane_pid"])
        yield demo, facts
    finally:
        demo.interrupt()


def page(facts: dict[str, Any], **headers: str) -> str:
    answer = Client()(f"{facts['gateway']}/productpage", headers=headers)
    assert answer.status == 200
    return answer.body.decode()


def reviews_served(facts: dict[str, Any], count: int) -> set[str]:
    """Versions of reviews that pages of one batch came from."""
    return {match for _ in range(count) for match in re.findall(r"reviews-v[123]", page(facts))}


def test_facts_and_page(demo: tuple[Demo, dict[str, Any]]) -> None:
    _, facts = demo
    assert {"gateway", "admin", "dashboard", "home", "token_file", "workloads", "control_plane_pid"} <= set(facts)
    names = {workload["name"] for workload in facts["workloads"]}
    assert {"productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1"} <= names
    for workload in facts["workloads"]:
        assert alive(workload["pid"])
        assert alive(workload["envoy_pid"])
        if workload.get("app_pid"):
            assert alive(workload["app_pid"])
            host, port = workload["inbound"].rsplit(":", 1)
            socket.create_connection((host, int(port)), 5).close()
    text = page(facts)
    assert "The Comedy of Errors" in text
    assert reviews_served(facts, 40) == {"reviews-v1", "reviews-v2", "reviews-v3"}


def test_three_things_to_try(demo: tuple[Demo, dict[str, Any]]) -> None:
    running, facts = demo
    home = Path(facts["home"])
    shift = EXAMPLES / "shift-reviews-v3.yaml"
    cli(home, "apply", "-f", str(shift), "--wait")
    assert reviews_served(facts, 20) == {"reviews-v3"}
    cli(home, "delete", "-f", str(shift), "--wait")
    assert len(reviews_served(facts, 30)) == 3
    delay = EXAMPLES / "ratings-delay.yaml"
    cli(home, "apply", "-f", str(delay), "--wait")
    slow = max(Client()(f"{facts['gateway']}/productpage").seconds for _ in range(9))
    assert slow > 0.9
    cli(home, "delete", "-f", str(delay), "--wait")
    cli(home, "stop", "control-plane")
    assert not alive(facts["control_plane_pid"])
    for _ in range(10):
        page(facts)
    done = cli(home, "get", "services", check=False)
    assert done.returncode == 3
    assert "serve" in done.stderr
    assert running.process.poll() is None
    cli(home, "restart", "control-plane")
    cli(home, "apply", "-f", str(shift), "--wait")
    until("proxies follow it", lambda: reviews_served(facts, 10) == {"reviews-v3"})


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "d")
    facts = demo.facts()
    ports = {int(workload["inbound"].rsplit(":", 1)[1]) for workload in facts["workloads"] if workload.get("inbound")}
    ports |= {int(facts[name].rsplit(":", 1)[1]) for name in ("gateway", "admin")}
    assert demo.interrupt() in (0, 130)
    assert_nothing_left(demo, ports)


@pytest.mark.timeout(600)
def test_eight_starts_some_stopped_half_way(tmp_path: Path) -> None:
    chance = random.Random(20)
    for number in range(8):
        demo = Demo(tmp_path / str(number))
        if number % 4 == 0:
            demo.facts()
        else:
            wanted = chance.randrange(1, 40)
            seen = 0
            for _ in range(400):
                seen = len(processes_below(demo.directory))
                if seen >= min(wanted, 20) or demo.process.poll() is not None:
                    break
                time.sleep(0.01)
        code = demo.interrupt()
        assert code in (0, 130, -signal.SIGINT), demo.errors.read_text()
        assert_nothing_left(demo, set())


def test_a_second_up_in_one_home_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    meshfile = tmp_path / "weft.yaml"
    meshfile.write_text(
        "workloads:\n  - {name: one, labels: {app: one}, ports: ['8080:auto'], command: [python3, -m, http.server, "
        "--bind, 127.0.0.1, '$PORT']}\n".replace("'$PORT'", "'0'").replace("ports: ['8080:auto'], ", "")
    )
    words = [*WEFT, "up", "-f", str(meshfile)]
    environment = {**os.environ, "WEFT_HOME": str(home)}
    with (tmp_path / "up.log").open("wb") as log:
        first = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until("up", lambda: json.loads(cli(home, "get", "workloads", "-o", "json", check=False).stdout or "null"))
        second = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert "unchanged: control-plane, one" in second.stderr
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        first.wait(60)
    assert not processes_below(home)
