"""Many registrations in the store of a real `weft serve`: its rest, the change of one, and what a renewal costs."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from bench.arms import THIS, Arm, Arms, Samples, compare
from bench.machine import Cores, cpu_seconds, resident_bytes
from bench.mesh import BenchMesh
from bench.processes import WEFT, BenchError, started, wait_until
from bench.registrations_seed import NAMESPACE
from bench.streams import connected, yardstick
from bench.streams_server import SETTLING
from weft.agent.keys import make_key
from weft.model.enrolment import RegisterRequest
from weft.model.labels import Labels
from weft.model.workload import Workload

LEASE = 15.0
"""Seconds, the default: in this time after its start a control plane ends no lease, and so looks at none."""
PAUSE = 0.3
"""Seconds between two changes, more than the control plane holds off."""

RENEWALS = 50
"""In one measurement."""


class Agent:
    """Calls the agent API's socket, each over a connection of its own if the server closes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: http.client.HTTPConnection | None = None
        self._csr = make_key().csr

    def renew(self, number: int, state: str) -> None:
        """Renew the lease of a registration, in this state."""
        self._call("POST", f"/v1/workloads/{NAMESPACE}/backend-{number}/lease", json.dumps({"state": state}))

    def register(self, workload: Workload, labels: Labels) -> None:
        """Register a workload, or take over its registration, with these labels."""
        request = RegisterRequest(replace(workload, labels=labels), self._csr)
        self._call("POST", "/v1/workloads", msgspec.json.encode(request).decode())

    def remove(self, namespace: str, name: str) -> None:
        """End a registration."""
        self._call("DELETE", f"/v1/workloads/{namespace}/{name}", "")

    def answers(self) -> bool:
        """Whether the control plane is there."""
        self._call("GET", "/v1/trust-bundle", "")
        return True

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, method: str, path: str, body: str) -> None:
        if self._connection is None:
            self._connection = self._connect()
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(str(error)) from error
        if answer.will_close:
            self.close()
        if answer.status not in {200, 204}:
            raise BenchError(f"{method} {path} was answered with {answer.status}: {content[:300]!r}")

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(60)
            connection.sock.connect(self._path)
        except OSError:
            connection.sock.close()
            raise
        return connection


@dataclass(frozen=True)
class Size:
    """How many registrations there are, and how many of them are proxies that connect. `lease` in seconds."""

    registrations: int
    streams: int
    lease: float = LEASE
    repeat: int = 10
    rest: float = 10.0


class Round:
    """One round of one arm."""

    def __init__(self, cores: Cores, arm: Arm, size: Size) -> None:
        self._cores = cores
        self._arm = arm
        self._size = size
        self.samples: Samples = {}

    def run(self) -> Samples:
        """Start on a filled store, rest, change, renew; rest again with streams."""
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
            directory = Path(name)
            self._say("filling the store")
            agent = Agent(self._seed(directory))
            home = directory / "home"
            lease = f"{self._size.lease:g}"
            options = ["--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--lease", lease]
            environment = {**self._arm.environment(), "WEFT_HOME": str(home)}
            command = [*WEFT, "serve", *options]
            with started("serve", command, directory, core=self._cores.proxies, env=environment) as process:
                try:
                    self._measure(process, agent)
                    if self._size.streams:
                        self._measure_streams(process, BenchMesh(home, directory, self._cores))
                finally:
                    agent.close()
        return self.samples

    def _seed(self, directory: Path) -> str:
        words = [str(directory), str(self._size.registrations), str(self._size.streams)]
        command = [sys.executable, "-m", "bench.registrations_seed", *words]
        done = subprocess.run(
            command, env=self._arm.environment(), capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"the store could not be filled: {done.stderr[-1500:]}")
        path: str = json.loads(done.stdout)["socket"]
        return path

    def _measure(self, process: subprocess.Popen[bytes], agent: Agent) -> None:
        self._say("start")
        begun = time.monotonic()
        wait_until("the control plane answers", agent.answers, 120, process=process)
        self._note("start: seconds", time.monotonic() - begun)
        self._note("start: CPU s", cpu_seconds(process.pid))
        time.sleep(self._size.lease + 2)
        self._note("memory, MB", resident_bytes(process.pid) / 1e6)
        self._say("rest")
        share = self._rest(process)
        self._note("rest: % of a core", 100 * share)
        self._say("changes and renewals")

        def change(number: int) -> None:
            agent.renew(0, ("unhealthy", "healthy")[number % 2])
            time.sleep(PAUSE)

        def renew(_: int) -> None:
            for _number in range(RENEWALS):
                agent.renew(1, "healthy")

        self._each(process, share, "state change of one: CPU ms", 1e3, change)
        self._each(process, share, "renewal: CPU µs", 1e6 / RENEWALS, renew)
        self._note("memory: after changes, MB", resident_bytes(process.pid) / 1e6)

    def _measure_streams(self, process: subprocess.Popen[bytes], mesh: BenchMesh) -> None:
        count = self._size.streams
        self._say(f"rest with {count} streams")
        endpoints = json.loads((mesh.home / "control-plane" / "endpoints.json").read_text())
        port = int(endpoints["xds"].rpartition(":")[2])

        def all_there() -> bool:
            return len(mesh.call("GET", "proxies")["proxies"]) >= count

        with connected(mesh.logs, self._cores.load, 0, count, port):
            wait_until(f"{count} proxies are connected", all_there, 120, every=0.5, process=process)
            time.sleep(SETTLING)
            self._note(f"rest with {count} streams: % of a core", 100 * self._rest(process))
            self._note(f"memory: with {count} streams, MB", resident_bytes(process.pid) / 1e6)

    def _each(
        self, process: subprocess.Popen[bytes], share: float, figure: str, unit: float, act: Callable[[int], object]
    ) -> None:
        """CPU time of an act, without that of rest in the same time."""
        for number in range(self._size.repeat):
            begun, cpu = time.monotonic(), cpu_seconds(process.pid)
            act(number)
            used = cpu_seconds(process.pid) - cpu - share * (time.monotonic() - begun)
            self._note(figure, unit * max(0.0, used))

    def _rest(self, process: subprocess.Popen[bytes]) -> float:
        begun, cpu = time.monotonic(), cpu_seconds(process.pid)
        time.sleep(self._size.rest)
        return (cpu_seconds(process.pid) - cpu) / (time.monotonic() - begun)

    def _note(self, figure: str, value: float) -> None:
        self.samples.setdefault(figure, []).append(value)

    def _say(self, what: str) -> None:
        text = f"{self._size.registrations} registrations, {self._arm.name}: {what}"
        print(f"bench: registrations: {text}", file=sys.stderr, flush=True)


def measure_registrations(_: Path, cores: Cores, *, quick: bool, arms: Arms = (THIS,)) -> dict[str, object]:
    """The section of the report."""
    sizes = (Size(1000, 100, repeat=4, rest=3.0),) if quick else (Size(10_000, 1000), Size(50_000, 0))
    return measure_sizes(cores, sizes, arms)


def measure_sizes(cores: Cores, sizes: tuple[Size, ...], arms: Arms) -> dict[str, object]:
    """The figures of each size, by arm."""
    tables: dict[str, dict[str, object]] = {}

    def measure(size: Size, arm: Arm) -> Samples:
        return Round(cores, arm, size).run()

    for size in sizes:
        for arm, figures in compare(arms, partial(measure, size)).items():
            rows = {f"{size.registrations:,} registrations: {figure}": value for figure, value in figures.items()}
            tables.setdefault(arm, {}).update(rows)
    return {"arms": tables, "yardstick": {"ms for 10,000 SHA-256 of 1 KB": yardstick()}}
