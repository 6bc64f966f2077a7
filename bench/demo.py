"""Demo start: from typing `weft demo` to the first page that comes through the gateway, and back to nothing.

The yardstick is the start of one bare Envoy and of a Python that does nothing, in the same run.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.backend import BODY
from bench.figures import series
from bench.machine import Cores
from bench.processes import WEFT, BenchError, accepts, envoy_command, free_port, started, stop, wait_until
from bench.templates import write_configuration

LIMIT = 60.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def page_served(gateway: str) -> bool:
    """Whether the product page comes."""
    try:
        with OPENER.open(f"{gateway}/productpage", timeout=10.0) as answer:
            return answer.status == 200 and len(answer.read()) > 0
    except urllib.error.HTTPError:
        return False


def ready_line(process: subprocess.Popen[bytes]) -> str:
    """The JSON line that says the demo is ready."""
    output = process.stdout
    assert output is not None
    if not select.select([output], (), (), LIMIT)[0]:
        raise BenchError(f"the demo was not ready within {LIMIT:g} s")
    line = output.readline().decode()
    if not line.startswith("{"):
        raise BenchError(f"the demo did not start: {line!r}")
    return line


def start_demo(directory: Path, number: int) -> tuple[float, float, float]:
    """One start in a fresh home: seconds until ready, until the first page, and for the stop."""
    environment = {**os.environ, "WEFT_HOME": str(directory / f"demo-{number}")}
    with (directory / f"demo-{number}.log").open("wb") as log:
        moment = time.perf_counter()
        process = subprocess.Popen(
            [*WEFT, "demo", "-o", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        with contextlib.closing(process.stdout or sys.stdin.buffer):
            answer = json.loads(ready_line(process))
            ready = time.perf_counter() - moment
            wait_until("the first page", lambda: page_served(answer["gateway"]), LIMIT, every=0.005)
            served = time.perf_counter() - moment
            moment = time.perf_counter()
            process.terminate()
            process.wait(LIMIT)
            return ready, served, time.perf_counter() - moment
    finally:
        stop(process, 30.0)


def start_envoy(directory: Path, number: int) -> float:
    """Seconds until a bare Envoy listens."""
    port = free_port()
    configuration = write_configuration("backend", directory, f"start-{number}", port=str(port), body=BODY)
    moment = time.perf_counter()
    with started(f"start-{number}", envoy_command(configuration), directory):
        wait_until("Envoy listens", lambda: accepts(port), every=0.002)
        return time.perf_counter() - moment


def start_python() -> float:
    """Seconds for a Python that does nothing."""
    moment = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.perf_counter() - moment


def measure_demo(directory: Path, _: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about the demo's start."""
    rounds = 3 if quick else 5
    starts, envoys, pythons = [], [], []
    for number in range(rounds):
        envoys.append(start_envoy(directory, number))
        pythons.append(start_python())
        starts.append(start_demo(directory, number))
        print(f"bench: demo, round {number + 1} of {rounds}", file=sys.stderr)
    return {
        "rounds": rounds,
        "ready_s": series([ready for ready, _, _ in starts]),
        "first_page_s": series([served for _, served, _ in starts]),
        "stop_s": series([stopped for _, _, stopped in starts]),
        "yardstick": {"one_envoy_s": series(envoys), "one_python_s": series(pythons)},
        "first_page_to_one_envoy": series([start[1] / envoy for start, envoy in zip(starts, envoys, strict=True)]),
    }
