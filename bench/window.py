"""The window of traffic: memory of a day, cost of a report and of questions, and what the agents that report cost."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import series
from bench.machine import Cores, cpu_seconds
from bench.mesh import BenchMesh
from bench.processes import BenchError, wait_until

RATE = 50.0
"""Requests a second of the busy client."""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
"""


def measure_window(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about the window."""
    figures: dict[str, list[float]] = {}
    for number in range(1 if quick else 3):
        print(f"bench: window, round {number + 1}", file=sys.stderr)
        for name, value in large(200 if quick else 2000).items():
            figures.setdefault(name, []).append(value)
    agents = measure_agents(directory, cores, 10.0 if quick else 40.0)
    return {name: series(values) for name, values in figures.items()} | {"agent": agents}


def large(workloads: int) -> dict[str, float]:
    """The figures of `bench.window_server`."""
    command = [sys.executable, "-m", "bench.window_server", str(workloads), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_agents(directory: Path, cores: Cores, seconds: float) -> dict[str, object]:
    """CPU of two agents, in per cent of a core: while nobody calls, and while one calls the other."""
    (directory / "logs").mkdir(exist_ok=True)
    mesh = BenchMesh(directory / "home", directory / "logs", cores)
    ratings = [sys.executable, "-m", "weft.bookinfo.ratings"]
    with (
        mesh.serving(),
        mesh.running("ratings", ratings, "--port", "9080:auto") as callee,
        mesh.running("client", ["sleep", "3600"]) as caller,
    ):
        mesh.apply(SERVICE)
        state = json.loads((mesh.home / "workloads" / "default" / "client" / "state.json").read_text())
        connection = http.client.HTTPConnection("127.0.0.1", state["outbound"], timeout=10)

        def call() -> bool:
            connection.request("GET", "http://ratings:9080/ratings/0")
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200

        wait_until("the service answers", call)
        time.sleep(12)  # agents look less often by then
        found: dict[str, object] = {}
        for what, rate in (("idle", 0.0), ("busy", RATE)):
            before = [cpu_seconds(one.pid) for one in (caller, callee)]
            end, due = time.monotonic() + seconds, time.monotonic()
            while time.monotonic() < end:
                if rate:
                    call()
                due += 1 / rate if rate else seconds
                time.sleep(max(0.0, due - time.monotonic()))
            shares = [
                (cpu_seconds(one.pid) - start) / seconds * 100
                for one, start in zip((caller, callee), before, strict=True)
            ]
            found |= {f"{what}_caller_percent": shares[0], f"{what}_callee_percent": shares[1]}
        connection.close()
        return found
