"""The data path: no mesh, a minimal hand-written Envoy pair, and weft, on the same requests in the same run.

Every round runs each arm, in turning order. An arm's turn is a run at a fixed rate, which gives CPU time per request
and latency, and a run as fast as it goes, which gives the highest rate.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.certificates import spiffe_id, write_certificates
from bench.figures import Series, ratio, series
from bench.load import Result
from bench.machine import Cores, cpu_seconds, pin
from bench.mesh import BenchMesh
from bench.processes import BenchError, accepts, envoy_command, free_port, started, wait_until
from bench.templates import write_configuration

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


MINIMAL, AGAIN, OURS = "minimal pair", "minimal pair again", "weft"
"""The hand-written pair is measured twice in each round: its ratio to itself is the noise of the machine."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    rate: float
    fixed_seconds: float
    full_seconds: float
    connections: int


FULL = Plan(rounds=9, rate=1000.0, fixed_seconds=2.5, full_seconds=1.5, connections=32)
QUICK = Plan(rounds=5, rate=800.0, fixed_seconds=1.0, full_seconds=0.6, connections=32)


@dataclass(frozen=True)
class Arm:
    """Where one arm's requests go, and which proxies are paid for them."""

    name: str
    address: str
    path: str
    proxies: tuple[int, ...]
    backend: int


@dataclass(frozen=True)
class Turn:
    """One arm in one round; times in microseconds."""

    cpu: float
    cpu_at_full_rate: float
    p50: float
    p99: float
    rate: float
    backend_cpu: float
    generator_cpu: float


def run_load(arm: Arm, plan: Plan, core: int, *, rate: float, seconds: float) -> Result:
    """The load generator as a process of its own."""
    command = [sys.executable, "-m", "bench.load", "--address", arm.address, "--host", "echo", "--path", arm.path]
    command += ["--connections", str(plan.connections), "--seconds", str(seconds)]
    command += ["--rate", str(rate), "--core", str(core)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds * 10 + 60)
    if done.returncode:
        raise BenchError(f"load on the arm '{arm.name}': {done.stderr.strip().splitlines()[-1]}")
    return Result(**json.loads(done.stdout))


def measure_turn(arm: Arm, plan: Plan, cores: Cores) -> Turn:
    """One arm at the fixed rate, then as fast as it goes."""
    run_load(arm, plan, cores.load, rate=plan.rate, seconds=0.2)
    before = sum(cpu_seconds(pid) for pid in arm.proxies)
    backend = cpu_seconds(arm.backend)
    fixed = run_load(arm, plan, cores.load, rate=plan.rate, seconds=plan.fixed_seconds)
    between = sum(cpu_seconds(pid) for pid in arm.proxies)
    backend = cpu_seconds(arm.backend) - backend
    full = run_load(arm, plan, cores.load, rate=0.0, seconds=plan.full_seconds)
    after = sum(cpu_seconds(pid) for pid in arm.proxies)
    return Turn(
        cpu=(between - before) / fixed.requests * 1e6,
        cpu_at_full_rate=(after - between) / full.requests * 1e6,
        p50=fixed.p50 * 1e6,
        p99=fixed.p99 * 1e6,
        rate=full.rate,
        backend_cpu=backend / fixed.requests * 1e6,
        generator_cpu=full.generator_cpu * 1e6,
    )


@contextmanager
def backend(directory: Path, cores: Cores) -> Iterator[tuple[int, int]]:
    """The backend on its own: port and pid."""
    port = free_port()
    environment = {"PORT": str(port), "BENCH_DIRECTORY": str(directory), "BENCH_CORE": str(cores.load)}
    command = [sys.executable, "-m", "bench.backend"]
    with started("backend", command, directory, core=cores.load, env=environment) as process:
        wait_until("the backend listens", lambda: accepts(port))
        yield port, process.pid


@contextmanager
def minimal_pair(directory: Path, application: int, cores: Cores) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The hand-written pair in front of the backend: outbound port and pids."""
    write_certificates(directory, ("caller", "echo"))
    inbound, outbound = free_port(), free_port()
    values = {
        "directory": str(directory),
        "inbound": str(inbound),
        "outbound": str(outbound),
        "application": str(application),
        "echo_id": spiffe_id("echo"),
    }
    with ExitStack() as stack:
        pids = []
        for side, port in (("echo", inbound), ("caller", outbound)):
            configuration = write_configuration(f"minimal-{side}", directory, f"minimal-{side}", **values)
            process = stack.enter_context(
                started(f"minimal-{side}", envoy_command(configuration), directory, core=cores.proxies)
            )
            wait_until(f"the minimal {side} proxy listens", partial(accepts, port))
            pin(process.pid, cores.proxies)
            pids.append(process.pid)
        yield outbound, tuple(pids)


@contextmanager
def our_pair(mesh: BenchMesh, directory: Path, cores: Cores) -> Iterator[Arm]:
    """Two workloads of a real mesh, started as a person would: `weft serve`, `weft apply`, `weft run` twice."""
    with ExitStack() as stack:
        stack.enter_context(mesh.serving())
        mesh.apply(SERVICE)
        stack.enter_context(
            mesh.running(
                "echo",
                [sys.executable, "-m", "bench.backend"],
                "--port",
                "8080:auto",
                "--health",
                "tcp",
                env={"BENCH_DIRECTORY": str(directory), "BENCH_CORE": str(cores.load)},
            )
        )
        stack.enter_context(mesh.running("caller", ["sleep", "86400"]))
        envoys = tuple(mesh.envoy_pid(name) for name in ("caller", "echo"))
        for pid in envoys:
            pin(pid, cores.proxies)
        host, port = mesh.outbound("caller")
        arm = Arm(OURS, f"{host}:{port}", "http://echo/", envoys, mesh.application_pid("echo"))
        yield arm


@contextmanager
def all_arms(directory: Path, cores: Cores) -> Iterator[tuple[Arm, ...]]:
    """Every arm, running."""
    with ExitStack() as stack:
        port, pid = stack.enter_context(backend(directory, cores))
        outbound, pair = stack.enter_context(minimal_pair(directory, port, cores))
        ours = stack.enter_context(our_pair(BenchMesh(directory / "home", directory, cores), directory, cores))
        yield (
            Arm("no mesh", f"127.0.0.1:{port}", "/", (), pid),
            Arm(MINIMAL, f"127.0.0.1:{outbound}", "http://echo/", pair, pid),
            ours,
            Arm(AGAIN, f"127.0.0.1:{outbound}", "http://echo/", pair, pid),
        )


def measure_rounds(arms: Sequence[Arm], plan: Plan, cores: Cores) -> dict[str, list[Turn]]:
    """Interleaved turns of every arm."""
    turns: dict[str, list[Turn]] = {arm.name: [] for arm in arms}
    for arm in arms:
        wait_until(f"'{arm.name}' answers", partial(answers, arm, plan, cores))
    for number in range(plan.rounds):
        order = list(arms) if number % 2 == 0 else list(reversed(arms))
        for arm in order:
            turns[arm.name].append(measure_turn(arm, plan, cores))
        print(f"bench: data path, round {number + 1} of {plan.rounds}", file=sys.stderr)
    return turns


def answers(arm: Arm, plan: Plan, cores: Cores) -> bool:
    """Whether the whole way to the backend works."""
    try:
        return run_load(arm, plan, cores.load, rate=100.0, seconds=0.1).requests > 0
    except BenchError as error:
        raise OSError(str(error)) from error


def figures(turns: dict[str, list[Turn]]) -> dict[str, dict[str, Series]]:
    """Each arm's figures, as series over the rounds."""
    return {
        name: {
            "cpu_us_per_request": series([turn.cpu for turn in of_arm]),
            "cpu_us_at_full_rate": series([turn.cpu_at_full_rate for turn in of_arm]),
            "p50_us": series([turn.p50 for turn in of_arm]),
            "p99_us": series([turn.p99 for turn in of_arm]),
            "highest_rate": series([turn.rate for turn in of_arm]),
            "backend_cpu_us": series([turn.backend_cpu for turn in of_arm]),
            "generator_cpu_us": series([turn.generator_cpu for turn in of_arm]),
        }
        for name, of_arm in turns.items()
    }


def measure_data_path(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about the data path."""
    plan = QUICK if quick else FULL
    with all_arms(directory, cores) as arms:
        turns = measure_rounds(arms, plan, cores)
    return {
        "rounds": plan.rounds,
        "rate": plan.rate,
        "connections": plan.connections,
        "arms": figures(turns),
        "weft_to_minimal": compare(turns[OURS], turns[MINIMAL], turns[AGAIN]),
        "noise_minimal_to_itself": compare(turns[AGAIN], turns[MINIMAL], turns[MINIMAL]),
    }


def compare(ours: list[Turn], before: list[Turn], after: list[Turn]) -> dict[str, Series]:
    """Ratios of one arm to the mean of the turns on its two sides, round by round."""
    rounds = list(zip(ours, before, after, strict=True))
    return {
        "cpu": ratio([(a.cpu, (b.cpu + c.cpu) / 2) for a, b, c in rounds]),
        "cpu_at_full_rate": ratio(
            [(a.cpu_at_full_rate, (b.cpu_at_full_rate + c.cpu_at_full_rate) / 2) for a, b, c in rounds]
        ),
        "p50": ratio([(a.p50, (b.p50 + c.p50) / 2) for a, b, c in rounds]),
        "p99": ratio([(a.p99, (b.p99 + c.p99) / 2) for a, b, c in rounds]),
        "highest_rate": ratio([(a.rate, (b.rate + c.rate) / 2) for a, b, c in rounds]),
    }
