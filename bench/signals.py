"""What signals cost: pairs of sidecars that differ only in what they say of the same requests, in one mesh.

Every arm is a caller and an echo of one `weft serve`, with Telemetry of their own. A round runs each arm at a fixed
rate, in turning order; the arms without any signal stand first and last, and a ratio is to the mean of these two.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.datapath import Arm, Plan, answers, run_load
from bench.figures import Series, ratio, series
from bench.machine import Cores, cpu_seconds, pin
from bench.mesh import BenchMesh
from bench.processes import accepts, free_port, started, wait_until

SILENT, AGAIN = "nothing", "nothing again"
OFF = "metrics: [{providers: [{name: prometheus}], overrides: [{disabled: true}]}]"
ARMS = {
    SILENT: OFF,
    "metrics": "",
    "metrics, JSON log": "accessLogging: [{providers: [{name: json}]}]",
    "metrics, text log": "accessLogging: [{providers: [{name: text}]}]",
    "metrics, OTLP log": "accessLogging: [{providers: [{name: lines}]}]",
    "traces at 1 %": f"{OFF}\n  tracing: [{{providers: [{{name: spans}}], randomSamplingPercentage: 1}}]",
    "traces at 100 %": f"{OFF}\n  tracing: [{{providers: [{{name: spans}}], randomSamplingPercentage: 100}}]",
    AGAIN: OFF,
}
"""What the Telemetry of each arm says. Metrics are what every mesh has by default, with the journal of what failed."""
SETTINGS = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec:
  extensionProviders:
    - {{name: json, envoyFileAccessLog: {{path: json.log, logFormat: {{labels: {{}}}}}}}}
    - {{name: text, envoyFileAccessLog: {{path: text.log}}}}
    - {{name: lines, envoyOtelAls: {{service: 127.0.0.1, port: {port}}}}}
    - {{name: spans, opentelemetry: {{service: 127.0.0.1, port: {port}}}}}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: echo-{arm}}}
spec: {{selector: {{app: echo-{arm}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
TELEMETRY = """
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {workload}}}
spec:
  selector: {{matchLabels: {{app: {workload}}}}}
  {said}
"""


FULL = Plan(rounds=50, rate=1000.0, fixed_seconds=0.5, full_seconds=0.0, connections=16)
QUICK = Plan(rounds=10, rate=1000.0, fixed_seconds=0.4, full_seconds=0.0, connections=16)
"""Many short turns: what else the machine does then falls on all arms alike."""


@dataclass(frozen=True)
class Turn:
    """One arm in one round, in microseconds."""

    cpu: float
    p50: float
    p99: float


def documents(port: int) -> str:
    """All documents of the mesh; the collector is at `port`."""
    found = SETTINGS.format(port=port)
    for number, said in enumerate(ARMS.values()):
        found += SERVICE.format(arm=number)
        if said:
            found += "".join(TELEMETRY.format(workload=f"{side}-{number}", said=said) for side in ("caller", "echo"))
    return found


@contextmanager
def all_arms(directory: Path, cores: Cores) -> Iterator[list[Arm]]:
    """Every arm, running, in the order of ARMS."""
    mesh, port = BenchMesh(directory / "home", directory, cores), free_port()
    environment = {"PORT": str(port), "BENCH_CORE": str(cores.load)}
    with ExitStack() as stack:
        command = [sys.executable, "-m", "bench.sink"]
        stack.enter_context(started("sink", command, directory, core=cores.load, env=environment))
        wait_until("the collector listens", lambda: accepts(port))
        stack.enter_context(mesh.serving())
        mesh.apply(documents(port))
        yield [_pair(stack, mesh, number, name, directory, cores) for number, name in enumerate(ARMS)]


def _pair(stack: ExitStack, mesh: BenchMesh, number: int, name: str, directory: Path, cores: Cores) -> Arm:
    echo, caller = f"echo-{number}", f"caller-{number}"
    scratch = directory / echo
    scratch.mkdir()
    environment = {"BENCH_DIRECTORY": str(scratch), "BENCH_CORE": str(cores.load)}
    backend = [sys.executable, "-m", "bench.backend"]
    stack.enter_context(mesh.running(echo, backend, "--port", "8080:auto", "--health", "tcp", env=environment))
    stack.enter_context(mesh.running(caller, ["sleep", "86400"]))
    envoys = tuple(mesh.envoy_pid(each) for each in (caller, echo))
    for pid in envoys:
        pin(pid, cores.proxies)
    host, port = mesh.outbound(caller)
    return Arm(name, f"{host}:{port}", f"http://{echo}/", envoys, mesh.application_pid(echo))


def measure_turn(arm: Arm, plan: Plan, cores: Cores) -> Turn:
    """One arm at the fixed rate."""
    before = sum(cpu_seconds(pid) for pid in arm.proxies)
    done = run_load(arm, plan, cores.load, rate=plan.rate, seconds=plan.fixed_seconds)
    after = sum(cpu_seconds(pid) for pid in arm.proxies)
    return Turn((after - before) / done.requests * 1e6, done.p50 * 1e6, done.p99 * 1e6)


def measure_rounds(arms: Sequence[Arm], plan: Plan, cores: Cores, section: str = "signals") -> dict[str, list[Turn]]:
    """Interleaved turns of every arm; `section` is told with the progress."""
    for arm in arms:
        wait_until(f"'{arm.name}' answers", partial(answers, arm, plan, cores))
    turns: dict[str, list[Turn]] = {arm.name: [] for arm in arms}
    for number in range(plan.rounds):
        for arm in arms if number % 2 == 0 else reversed(arms):
            turns[arm.name].append(measure_turn(arm, plan, cores))
        print(f"bench: {section}, round {number + 1} of {plan.rounds}", file=sys.stderr)
    return turns


def measure_signals(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about signals."""
    plan = QUICK if quick else FULL
    with all_arms(directory, cores) as arms:
        turns = measure_rounds(arms, plan, cores)
    return {
        "rounds": plan.rounds,
        "rate": plan.rate,
        "connections": plan.connections,
        "arms": figures(turns),
        "cpu_to_nothing": cpu_ratios(turns),
        "cpu_to_nothingin_quiet_moments": in_quiet_moments(turns),
    }


def figures(turns: dict[str, list[Turn]]) -> dict[str, dict[str, Series]]:
    """What the turns of each arm say by themselves."""
    return {
        name: {
            "cpu_us_per_request": series([turn.cpu for turn in of_arm]),
            "p50_us": series([turn.p50 for turn in of_arm]),
            "p99_us": series([turn.p99 for turn in of_arm]),
        }
        for name, of_arm in turns.items()
    }


def cpu_ratios(turns: dict[str, list[Turn]]) -> dict[str, Series]:
    """Ratios of CPU per request to the silent pairs', round by round."""
    return {name: _to_silence(of_arm, turns) for name, of_arm in turns.items() if name != SILENT}


def in_quiet_moments(turns: dict[str, list[Turn]]) -> dict[str, float]:
    """Ratios of the lower quartiles: other programs make requests dearer, never cheaper."""
    quiet = {name: statistics.quantiles([turn.cpu for turn in of_arm], n=4)[0] for name, of_arm in turns.items()}
    silence = (quiet[SILENT] + quiet[AGAIN]) / 2
    return {
        name: value / (quiet[SILENT] if name == AGAIN else silence) for name, value in quiet.items() if name != SILENT
    }


def _to_silence(of_arm: Sequence[Turn], turns: dict[str, list[Turn]]) -> Series:
    """Ratios of CPU per request, round by round. The silent pair's to itself is the noise."""
    others = list(zip(turns[SILENT], turns[AGAIN], strict=True))
    if of_arm is turns[AGAIN]:
        return ratio([(again.cpu, silent.cpu) for silent, again in others])
    pairs = [(turn.cpu, (silent.cpu + again.cpu) / 2) for turn, (silent, again) in zip(of_arm, others, strict=True)]
    return ratio(pairs)
