"""Propagation: from a change at the admin API until twenty real Envoys act on it.

Every sidecar is asked the same question through its own outbound listener, over and over, while the change is made; the
answer carries the change's number. What is reported is the moment the last of them answers with the new one.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Series, series, tail
from bench.load import build_request
from bench.machine import Cores, resident_bytes
from bench.mesh import BenchMesh
from bench.processes import BenchError, wait_until

PROXIES = 20
PAUSE = 0.001
"""Seconds between two rounds of questions."""
LIMIT = 20.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: probe}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
"""

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: probe}
spec:
  hosts: [probe]
  http:
    - directResponse: {status: 200, body: {string: "<<%d>>"}}
"""


@dataclass
class Change:
    """One change: seconds from the call until each proxy acted on it, and until the call said that all confirmed."""

    seen: dict[int, float] = field(default_factory=dict)
    confirmed: float = 0.0
    stale_after_confirmation: int = 0
    failure: str = ""

    @property
    def last(self) -> float:
        """When the last proxy acted on it."""
        return max(self.seen.values())


class Probes:
    """One keep-alive connection to each sidecar's outbound listener."""

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self._sockets = [socket.create_connection(address, timeout=5.0) for address in addresses]
        self._request = build_request("probe", "http://probe/")

    def ask(self) -> list[tuple[int, float]]:
        """Ask all at once: the number each answers (-1 for none) and when its answer came."""
        answers = [(-1, 0.0)] * len(self._sockets)
        with selectors.DefaultSelector() as selector:
            for index, connection in enumerate(self._sockets):
                connection.sendall(self._request)
                selector.register(connection, selectors.EVENT_READ, index)
            left = len(self._sockets)
            partial: dict[int, bytes] = {}
            while left:
                events = selector.select(5.0)
                if not events:
                    raise BenchError("a sidecar does not answer")
                for key, _ in events:
                    index = key.data
                    data = partial.get(index, b"") + self._sockets[index].recv(65536)
                    partial[index] = data
                    if (number := read_answer(data)) is not None:
                        answers[index] = (number, time.perf_counter())
                        selector.unregister(key.fileobj)
                        left -= 1
        return answers

    def close(self) -> None:
        """Close all."""
        for connection in self._sockets:
            connection.close()


def read_answer(data: bytes) -> int | None:
    """The number in a complete answer; -1 if it has none; None while the answer is incomplete."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    if len(body) < length:
        return None
    _, found, rest = body.partition(b"<<")
    return int(rest.partition(b">>")[0]) if found else -1


def make_change(mesh: BenchMesh, probes: Probes, number: int) -> Change:
    """Apply change `number` and watch every proxy."""
    change = Change()
    started = time.perf_counter()

    def apply() -> None:
        try:
            answer = mesh.apply(ROUTE % number, wait=LIMIT)
            change.confirmed = time.perf_counter() - started
            waited = answer["wait"] or {}
            if waited.get("pending") or waited.get("nacked"):
                change.failure = f"not confirmed by all: {waited}"
        except (BenchError, OSError, KeyError) as error:
            change.failure = f"the change was not accepted: {error}"

    caller = threading.Thread(target=apply)
    caller.start()
    while len(change.seen) < PROXIES:
        asked = time.perf_counter() - started
        for index, (answered, moment) in enumerate(probes.ask()):
            if answered == number:
                change.seen.setdefault(index, moment - started)
            elif change.confirmed and asked > change.confirmed:
                change.stale_after_confirmation += 1
        if asked > LIMIT or change.failure:
            break
        time.sleep(PAUSE)
    caller.join(LIMIT)
    if change.failure or len(change.seen) < PROXIES:
        raise BenchError(change.failure or f"only {len(change.seen)} of {PROXIES} proxies follow after {LIMIT:g} s")
    return change


def yardsticks(mesh: BenchMesh, probes: Probes) -> dict[str, Series]:
    """What the same machine needs for one call of the API, and for asking all sidecars once."""
    calls, rounds = [], []
    for _ in range(20):
        moment = time.perf_counter()
        mesh.call("GET", "health")
        calls.append((time.perf_counter() - moment) * 1e3)
        moment = time.perf_counter()
        probes.ask()
        rounds.append((time.perf_counter() - moment) * 1e3)
    return {"api_call_ms": series(calls), "asking_all_proxies_ms": series(rounds)}


def measure_propagation(directory: Path, _: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about propagation."""
    changes: list[Change] = []
    mesh = BenchMesh(directory / "home", directory, Cores(-1, -1))
    names = [f"proxy-{index:02d}" for index in range(PROXIES)]
    with ExitStack() as stack:
        serving = stack.enter_context(mesh.serving())
        mesh.apply(SERVICE + "---" + ROUTE % 0)
        started = time.perf_counter()
        processes = [stack.enter_context(mesh.running(name, ["sleep", "86400"], wait=False)) for name in names]
        for name, process in zip(names, processes, strict=True):
            mesh.wait_healthy(name, process)
        probes = Probes([mesh.outbound(name) for name in names])
        stack.callback(probes.close)
        wait_until("every sidecar answers", lambda: all(number == 0 for number, _ in probes.ask()), seconds=60)
        ready = time.perf_counter() - started
        print(f"bench: {PROXIES} sidecars ready after {ready:.1f} s", file=sys.stderr)
        measured_against = yardsticks(mesh, probes)
        for number in range(1, (15 if quick else 60) + 1):
            changes.append(make_change(mesh, probes, number))
        memory = [resident_bytes(mesh.envoy_pid(name)) / 2**20 for name in names]
        return {
            "proxies": PROXIES,
            "changes": len(changes),
            "first_proxy_ms": series([min(change.seen.values()) * 1e3 for change in changes]),
            "last_proxy_ms": series([change.last * 1e3 for change in changes]),
            "last_proxy_p99_ms": tail([change.last * 1e3 for change in changes], 0.99),
            "apply_wait_ms": series([change.confirmed * 1e3 for change in changes]),
            "stale_answers_after_wait": sum(change.stale_after_confirmation for change in changes),
            "yardstick": measured_against,
            "sidecars_ready_after_s": ready,
            "envoy_memory_mb": statistics.median(memory),
            "agent_memory_mb": statistics.median(resident_bytes(process.pid) / 2**20 for process in processes),
            "control_plane_memory_mb": resident_bytes(serving.pid) / 2**20,
        }
