"""What policies and protocols cost: pairs of sidecars in one mesh that differ only in what a document asks of them.

A round runs each arm at a fixed rate, in turning order. HTTP by a loopback port stands first and last, and a ratio is
to the mean of these two: the same way as that of TCP, so that only what is carried differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.datapath import Arm
from bench.figures import Series, ratio
from bench.machine import Cores, pin
from bench.mesh import BenchMesh
from bench.processes import free_port
from bench.signals import FULL, QUICK, Turn, figures, measure_rounds

PLAIN, AGAIN = "HTTP", "HTTP again"
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: echo-{arm}}}
spec: {{selector: {{app: echo-{arm}}}, ports: [{{name: {protocol}, port: 80, targetPort: 8080}}]}}
"""
LIMIT = """
---
apiVersion: weft.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{name: limit-{arm}}}
spec:
  targetRefs: [{{kind: Service, name: echo-{arm}}}]
  mode: {mode}
  limits: [{{name: each, requests: 1000000, unit: Second, by: [{{type: Identity}}]}}]
"""
ALLOW = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: allow-{arm}-{number}}}
spec:
  selector: {{matchLabels: {{app: echo-{arm}}}}}
  rules:
    - from: [{{source: {{principals: ["cluster.local/ns/default/sa/{who}"]}}}}]
      to: [{{operation: {{methods: [{method}], paths: ["/{path}*"]}}}}]
"""


@dataclass(frozen=True)
class Asked:
    """What an arm's documents ask: the port's protocol, how many policies of ALLOW (the last lets the caller in), and
    how its requests are counted."""

    protocol: str = "http"
    policies: int = 0
    limit: str = ""


ARMS: Mapping[str, Asked] = {
    PLAIN: Asked(),
    "TCP": Asked("tcp"),
    "10 ALLOW policies": Asked(policies=10),
    "rate limit, Local": Asked(limit="Local"),
    "rate limit, Global": Asked(limit="Global"),
    AGAIN: Asked(),
}


NOBODY = {"who": "nobody", "method": "POST", "path": "admin/"}


def documents() -> str:
    """All documents of the mesh."""
    found = ""
    for arm, asked in enumerate(ARMS.values()):
        found += SERVICE.format(arm=arm, protocol=asked.protocol)
        found += LIMIT.format(arm=arm, mode=asked.limit) if asked.limit else ""
        for number in range(asked.policies):
            last = number == asked.policies - 1
            words = {"who": f"caller-{arm}", "method": "GET", "path": ""} if last else NOBODY
            found += ALLOW.format(arm=arm, number=number, **words)
    return found


@contextmanager
def all_arms(directory: Path, cores: Cores) -> Iterator[list[Arm]]:
    """Every arm, running, in the order of ARMS."""
    mesh = BenchMesh(directory / "home", directory, cores)
    with ExitStack() as stack:
        stack.enter_context(mesh.serving())
        mesh.apply(documents())
        yield [_pair(stack, mesh, number, name, directory, cores) for number, name in enumerate(ARMS)]


def _pair(stack: ExitStack, mesh: BenchMesh, number: int, name: str, directory: Path, cores: Cores) -> Arm:
    echo, caller, port = f"echo-{number}", f"caller-{number}", free_port()
    scratch = directory / echo
    scratch.mkdir()
    environment = {"BENCH_DIRECTORY": str(scratch), "BENCH_CORE": str(cores.load)}
    backend = [sys.executable, "-m", "bench.backend"]
    stack.enter_context(mesh.running(echo, backend, "--port", "8080:auto", "--health", "tcp", env=environment))
    stack.enter_context(mesh.running(caller, ["sleep", "86400"], "--upstream", f"{echo}:80={port}"))
    envoys = tuple(mesh.envoy_pid(each) for each in (caller, echo))
    for pid in envoys:
        pin(pid, cores.proxies)
    return Arm(name, f"127.0.0.1:{port}", "/", envoys, mesh.application_pid(echo))


def measure_policies(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report about policies."""
    plan = QUICK if quick else FULL
    with all_arms(directory, cores) as arms:
        turns = measure_rounds(arms, plan, cores, section="policies")
    return {
        "rounds": plan.rounds,
        "rate": plan.rate,
        "connections": plan.connections,
        "arms": figures(turns),
        "cpu_to_http": {name: _to_http(of_arm, turns) for name, of_arm in turns.items() if name != PLAIN},
    }


def _to_http(of_arm: Sequence[Turn], turns: Mapping[str, list[Turn]]) -> Series:
    """Ratios of CPU per request, round by round. The plain pair's to itself is the noise."""
    others = list(zip(turns[PLAIN], turns[AGAIN], strict=True))
    if of_arm is turns[AGAIN]:
        return ratio([(again.cpu, plain.cpu) for plain, again in others])
    pairs = [(turn.cpu, (plain.cpu + again.cpu) / 2) for turn, (plain, again) in zip(of_arm, others, strict=True)]
    return ratio(pairs)
