"""Many simulated streams against the xDS server: time, CPU and bytes of one endpoint change, memory, reconnect."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.machine import Cores, choose_cores, pin
from bench.processes import BenchError, free_port, started, stop
from bench.report import to_plain
from bench.streams_mesh import write_certificates

SERVICES = 1000
PER_CLIENT = 500
CHANGES = 10
Figures = dict[str, float]


class Server:
    """The server process: a command goes in as a line, figures come out as one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.port = int(self._answer()["port"])

    def ask(self, command: str) -> Figures:
        """Figures of one command."""
        if self.process.stdin is None:
            raise BenchError("the server has no standard input")
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Figures:
        line = self.process.stdout.readline() if self.process.stdout is not None else b""
        if not line:
            raise BenchError("the streams server ended; its errors are on standard error")
        figures: Figures = json.loads(line)
        return figures


@contextlib.contextmanager
def serving(directory: Path, count: int, port: int, core: int) -> Iterator[Server]:
    """A running server."""
    command = [sys.executable, "-m", "bench.streams_server", str(directory), str(SERVICES), str(count), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            pin(process.pid, core)
            yield Server(process)
        finally:
            stop(process, 5)


@contextlib.contextmanager
def connected(directory: Path, count: int, port: int, core: int) -> Iterator[None]:
    """Running clients."""
    with contextlib.ExitStack() as stack:
        for first in range(0, count, PER_CLIENT):
            arguments = [str(directory), str(first), str(min(PER_CLIENT, count - first)), str(port)]
            command = [sys.executable, "-m", "bench.streams_client", *arguments]
            stack.enter_context(started(f"client-{first}", command, directory, core=core, patience=5))
        yield


def wait_current(server: Server, count: int, seconds: float) -> Figures:
    """Until all proxies hold everything."""
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        state = server.ask("state")
        if state["current"] >= count:
            return state
        now = time.monotonic()
        if now > end:
            raise BenchError(f"{state['current']:.0f} of {count} proxies are current after {seconds:g} s")
        time.sleep(max(0.1, 10 * (now - asked)))  # so that asking costs the server little


def measure_count(directory: Path, cores: Cores, count: int, changes: int) -> dict[str, object]:
    """Everything for one number of streams."""
    write_certificates(directory, count)
    port = free_port()
    with contextlib.ExitStack() as clients:
        with serving(directory, count, port, cores.proxies) as server:
            server.ask("collect")
            empty = server.ask("state")
            begun = time.monotonic()
            clients.enter_context(connected(directory, count, port, cores.load))
            loaded = wait_current(server, count, 240)
            load_seconds = time.monotonic() - begun
            server.ask("change")
            server.ask("collect")
            resident = server.ask("state")["rss"]
            rounds = [server.ask("change") for _ in range(changes)]
        begun = time.monotonic()
        with serving(directory, count, port, cores.proxies) as server:
            listening = time.monotonic()
            again = wait_current(server, count, 240)
            now = time.monotonic()
            server.ask("collect")
            resident_again = server.ask("state")["rss"]
    return {
        "services": SERVICES,
        "first load: seconds": load_seconds,
        "first load: bytes per stream": loaded["bytes"] / count,
        "first load: server CPU ms per stream": 1000 * (loaded["cpu_seconds"] - empty["cpu_seconds"]) / count,
        "memory: server without streams, MB": empty["rss"] / 1e6,
        "memory: server, MB": resident / 1e6,
        "memory: KB per stream": (resident - empty["rss"]) / count / 1e3,
        "one change: seconds to the last ACK": series([one["seconds"] for one in rounds]),
        "one change: of it, building the mesh": series([one["mesh_seconds"] for one in rounds]),
        "one change: proxies that confirmed": series([one["confirmed"] for one in rounds]),
        "one change: server CPU µs per push": series([1e6 * one["cpu_seconds"] / count for one in rounds]),
        "one change: bytes per stream": series([one["bytes"] / count for one in rounds]),
        "restart: seconds until listening": listening - begun,
        "restart: seconds from listening until all are current": now - listening,
        "restart: server CPU ms per stream": 1000 * (again["cpu_seconds"] - empty["cpu_seconds"]) / count,
        "restart: memory: server, MB": resident_again / 1e6,
        "restart: bytes per stream": again["bytes"] / count,
        "restart: bytes, % of the first load": 100 * again["bytes"] / loaded["bytes"],
    }


def series(values: list[float]) -> dict[str, float]:
    """Median and range."""
    ordered = sorted(values)
    return {"median": ordered[len(ordered) // 2], "lowest": ordered[0], "highest": ordered[-1]}


def measure_streams(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report: for each number of streams, the figures and a yardstick."""
    figures: dict[str, object] = {"yardstick: ms for 10,000 SHA-256 of 1 KB": yardstick()}
    for count in (200,) if quick else (1000, 2000):
        below = directory / str(count)
        below.mkdir(mode=0o700)
        figures[f"{count} streams"] = measure_count(below, cores, count, 3 if quick else CHANGES)
    return figures


def yardstick() -> float:
    """How fast this machine is at the moment."""
    block = bytes(1024)
    begun = time.perf_counter()
    for _ in range(10_000):
        hashlib.sha256(block).digest()
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Stand-alone: print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=CHANGES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-streams-") as directory:
        figures = measure_count(Path(directory), choose_cores(), arguments.streams, arguments.changes)
    print(json.dumps(to_plain(figures), indent=2))


if __name__ == "__main__":
    main()
