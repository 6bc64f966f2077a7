"""One proxy for many workloads (`weft host`) beside a sidecar for each, in the same rounds: memory and start of the
demo and of many idle workloads, a call between two of them, and what a busy neighbour costs.

Memory is proportional (PSS): pages that processes share are divided among them. Applications are not counted: they are
the same in both modes.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.datapath import SERVICE, Arm, Plan, Turn, answers, figures, measure_turn, run_load
from bench.demo import LIMIT, page_served, ready_line
from bench.figures import Series, ratio, series
from bench.machine import Cores, cpu_seconds, pin, proportional_bytes
from bench.mesh import BenchMesh
from bench.processes import WEFT, started, stop, wait_until

SIDECARS, SHARED = "sidecars", "shared"
MODES = (SIDECARS, SHARED)
BODIES = {"1 KiB": 1024, "64 KiB": 65536}
BUSY = 32
FEW = 1
SLEEP = ("sleep", "86400")


@dataclass(frozen=True)
class Weight:
    """What some workloads cost in one mode: megabytes of proxies and agents, seconds until all are healthy, and the CPU
    that all of them have used until then, in seconds."""

    proxies: float
    agents: float
    seconds: float
    cpu: float


def measure_shared(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report."""
    rounds, many = (1, 8) if quick else (3, 50)
    plan = Plan(rounds, 600.0, 0.8 if quick else 2.0, 0.5 if quick else 1.5, 8)
    return {
        "demo": _demos(directory, rounds),
        "workloads": _many(directory, many, rounds),
        "call": {body: _calls(directory / f"body-{size}", size, plan, cores) for body, size in BODIES.items()},
        "busy_neighbour": _neighbours(directory / "busy", replace(plan, connections=FEW), cores),
    }


def processes_of(home: Path) -> tuple[list[int], list[int]]:
    """Envoys, and processes of weft, that belong to a home."""
    envoys, agents = [], []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            where = f"{(entry / 'cwd').readlink()} {' '.join(words)}"
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if str(home) not in where and f"WEFT_HOME={home}" not in environment:
                continue
            if "bootstrap.json" in words:
                envoys.append(int(entry.name))
            elif "weft.cli.main" in words or Path(words[1] if len(words) > 1 else "").name == "weft":
                agents.append(int(entry.name))
    return envoys, agents


def megabytes(pids: Sequence[int]) -> float:
    """Proportional memory of processes."""
    return sum(proportional_bytes(pid) for pid in pids) / 1e6


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds of CPU that processes have used: steadier than seconds, where others use the machine too."""
    return sum(cpu_seconds(pid) for pid in pids)


def _demos(directory: Path, rounds: int) -> dict[str, object]:
    found: dict[str, list[tuple[float, float, float]]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        for mode in MODES:
            found[mode].append(_demo(directory / f"demo-{mode}-{number}", mode))
        print(f"bench: shared, demo, round {number + 1} of {rounds}", file=sys.stderr)
    return {
        "memory_mb": {mode: series([memory for memory, _, _ in each]) for mode, each in found.items()},
        "first_page_s": {mode: series([seconds for _, seconds, _ in each]) for mode, each in found.items()},
        "first_page_cpu_s": {mode: series([cpu for _, _, cpu in each]) for mode, each in found.items()},
    }


def _demo(home: Path, mode: str) -> tuple[float, float, float]:
    """The whole demo's memory (control plane, agents, proxies), seconds to the first page, and the CPU used for it."""
    more = ("--shared-proxy",) if mode == SHARED else ()
    moment = time.perf_counter()
    process = subprocess.Popen(
        [*WEFT, "demo", "--home", str(home), "-o", "json", *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with contextlib.closing(process.stdout or sys.stdin.buffer):
            answer = json.loads(ready_line(process))
            wait_until("the first page", lambda: page_served(answer["gateway"]), LIMIT, every=0.005)
            seconds = time.perf_counter() - moment
            envoys, agents = processes_of(home)
            return megabytes([*envoys, *agents]), seconds, cpu_of([*envoys, *agents])
    finally:
        stop(process, 45.0)


def _many(directory: Path, count: int, rounds: int) -> dict[str, object]:
    found: dict[str, list[Weight]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        for mode in MODES:
            found[mode].append(_weigh(directory / f"many-{mode}-{number}", mode, count))
        print(f"bench: shared, {count} workloads, round {number + 1} of {rounds}", file=sys.stderr)
    pairs = list(zip(found[SHARED], found[SIDECARS], strict=True))
    return {
        "count": count,
        **{
            mode: {
                "proxies_mb": series([each.proxies for each in weights]),
                "agents_mb": series([each.agents for each in weights]),
                "start_s": series([each.seconds for each in weights]),
                "start_cpu_s": series([each.cpu for each in weights]),
            }
            for mode, weights in found.items()
        },
        "memory_shared_to_sidecars": ratio([(a.proxies + a.agents, b.proxies + b.agents) for a, b in pairs]),
        "start_shared_to_sidecars": ratio([(a.seconds, b.seconds) for a, b in pairs]),
    }


def _weigh(where: Path, mode: str, count: int) -> Weight:
    """`weft up` of a mesh of idle workloads, each with a port and a Service that all others may call."""
    where.mkdir(parents=True)
    names = [f"w{number}" for number in range(count)]
    (where / "documents.yaml").write_text("\n---\n".join(_service(name) for name in names))
    workloads = [_entry(name, list(SLEEP), health=False) for name in names]
    file, home = where / "weft.yaml", where / "home"
    file.write_text(json.dumps({"proxy": _word(mode), "documents": ["documents.yaml"], "workloads": workloads}))
    moment = time.perf_counter()
    process = subprocess.Popen(
        [*WEFT, "up", "-f", str(file), "--home", str(home), "--timeout", "300", "-o", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with contextlib.closing(process.stdout or sys.stdin.buffer) as output:
            output.readline()
            seconds = time.perf_counter() - moment
            envoys, agents = processes_of(home)
            return Weight(megabytes(envoys), megabytes(agents), seconds, cpu_of([*envoys, *agents]))
    finally:
        stop(process, 90.0)


def _word(mode: str) -> str:
    return "shared" if mode == SHARED else "sidecar"


def _service(name: str) -> str:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


def _entry(name: str, command: list[str], *, health: bool, **environment: str) -> dict[str, object]:
    return {
        "name": name,
        "serviceAccount": name,
        "labels": {"app": name},
        "ports": ["8080:auto"],
        "command": command,
        "env": environment,
        "healthCheck": {"tcp": health},
    }


@contextmanager
def _pair(where: Path, mode: str, size: int, cores: Cores, *more: str) -> Iterator[tuple[Arm, BenchMesh]]:
    """A caller and an echo (and idle callers `more`) in one mode, under `weft serve`."""
    where.mkdir(parents=True, exist_ok=True)
    mesh = BenchMesh(where / "home", where, cores)
    environment = {"BENCH_DIRECTORY": str(where), "BENCH_CORE": str(cores.load), "BENCH_BODY": str(size)}
    backend = [sys.executable, "-m", "bench.backend"]
    with ExitStack() as stack:
        stack.enter_context(mesh.serving())
        mesh.apply(SERVICE)
        callers = ("caller", *more)
        if mode == SHARED:
            entries = [_entry("echo", backend, health=True, **environment)]
            entries += [_entry(name, list(SLEEP), health=False) for name in callers]
            file = where / "host.yaml"
            file.write_text(json.dumps({"workloads": entries}))
            words = [*WEFT, "host", str(file)]
            own = {"WEFT_HOME": str(mesh.home), "WEFT_PROXY_AUTH": "off", "PYTHONPATH": str(Path.cwd())}
            process = stack.enter_context(started("host", words, where, core=cores.load, env=own))
            for name in ("echo", *callers):
                mesh.wait_healthy(name, process)
            envoys: tuple[int, ...] = (mesh.envoy_pid("host"),)
        else:
            port = ("--port", "8080:auto", "--health", "tcp")
            stack.enter_context(mesh.running("echo", backend, *port, env=environment))
            for name in callers:
                stack.enter_context(mesh.running(name, list(SLEEP)))
            envoys = tuple(mesh.envoy_pid(name) for name in ("echo", *callers))
        for pid in envoys:
            pin(pid, cores.proxies)
        host, port_number = mesh.outbound("caller")
        yield Arm(mode, f"{host}:{port_number}", "http://echo/", envoys, mesh.application_pid("echo")), mesh


def _calls(where: Path, size: int, plan: Plan, cores: Cores) -> dict[str, object]:
    with ExitStack() as stack:
        arms = [stack.enter_context(_pair(where / mode, mode, size, cores))[0] for mode in MODES]
        turns: dict[str, list[Turn]] = {arm.name: [] for arm in arms}
        for arm in arms:
            wait_until(f"'{arm.name}' answers", partial(answers, arm, plan, cores))
        for number in range(3 * plan.rounds):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                turns[arm.name].append(measure_turn(arm, plan, cores))
    pairs = list(zip(turns[SHARED], turns[SIDECARS], strict=True))
    return {
        "arms": figures(turns),
        "cpu_shared_to_sidecars": ratio([(a.cpu, b.cpu) for a, b in pairs]),
        "p50_shared_to_sidecars": ratio([(a.p50, b.p50) for a, b in pairs]),
    }


def _neighbours(where: Path, plan: Plan, cores: Cores) -> dict[str, object]:
    """A client with one connection at 100 requests a second, alone and while another workload sends all it can."""
    found: dict[str, dict[str, Series]] = {}
    for mode in MODES:
        with _pair(where / mode, mode, 1024, cores, "busy") as (arm, mesh):
            wait_until(f"'{arm.name}' answers", partial(answers, arm, plan, cores))
            quiet, loud = [], []
            for _ in range(plan.rounds + 2):
                quiet.append(run_load(arm, plan, cores.load, rate=100.0, seconds=1.0))
                with _flood(mesh, cores):
                    loud.append(run_load(arm, plan, cores.load, rate=100.0, seconds=1.0))
            found[mode] = {
                "quiet_p50_us": series([each.p50 * 1e6 for each in quiet]),
                "quiet_p99_us": series([each.p99 * 1e6 for each in quiet]),
                "busy_p50_us": series([each.p50 * 1e6 for each in loud]),
                "busy_p99_us": series([each.p99 * 1e6 for each in loud]),
            }
    return {"busy_connections": BUSY, **found}


@contextmanager
def _flood(mesh: BenchMesh, cores: Cores) -> Iterator[None]:
    """Another workload's connections, as busy as they can be."""
    host, port = mesh.outbound("busy")
    command = [sys.executable, "-m", "bench.load", "--address", f"{host}:{port}", "--host", "echo"]
    command += ["--path", "http://echo/", "--connections", str(BUSY), "--seconds", "30", "--rate", "0"]
    command += ["--core", str(cores.load)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        yield
    finally:
        process.kill()
        process.wait()
