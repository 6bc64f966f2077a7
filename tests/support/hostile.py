"""``./run hostile``: ten floods against each port of a running mesh that speaks HTTP, and what they cost a bystander.

The floods are sent by a process of their own at the lowest priority, so that the bystander is not slowed by what it
costs to send them: a flood comes from elsewhere. What the kernel does for it is done here all the same. Before each
flood the same bystander calls for as long in calm; the ratio is to that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from support.bystander import bystander, processes, resident, weighed
from support.doors import DOORS, PAGE, door
from support.mesh import Mesh
from support.target import running_target

_LOWEST = 19
_BEFORE_SECONDS = 0.3
"""So long a flood goes on before the bystander is timed, and a calm after it."""
_AFTER_SECONDS = 1.5


@dataclass(frozen=True)
class Figure:
    """What one flood of one port came to: milliseconds of a bystander's requests, and megabytes of processes."""

    door: str
    flood: str
    rounds: int
    calm: tuple[float, float]
    flooded: tuple[float, float]
    """p50 and p99."""
    ratio: tuple[float, float]
    """Of p50 and p99, the medians over the rounds."""
    sent: int
    failures: int
    more: int
    """The most that a process weighed more than before."""
    left: int
    """What the processes together still weigh more a while after."""

    def __str__(self) -> str:
        p50, p99 = self.ratio
        (c50, c99), (f50, f99) = self.calm, self.flooded
        times = f"{c50:.1f} → {f50:.1f} | {c99:.1f} → {f99:.1f} | {p50:.1f} | {p99:.1f}"
        return f"| {self.door} | {self.flood} | {times} | {self.failures} | {self.more} | {self.left} |"


HEAD = """\
| port | flood | p50, ms | p99, ms | p50, ratio | p99, ratio | failed | most MB | MB left |
|---|---|---|---|---|---|---|---|---|"""


def _flooding(mesh: Mesh, where: str, flood: str, seconds: float, sent: multiprocessing.Queue[int]) -> None:
    os.nice(_LOWEST)
    to = door(mesh, where)
    asyncio.run(_for(where, flood, to, seconds))
    sent.put(to.sent)


async def _for(where: str, flood: str, to: object, seconds: float) -> None:
    await DOORS[where][flood](to, time.monotonic() + seconds)  # type: ignore[arg-type]


def _called(mesh: Mesh, seconds: float) -> tuple[tuple[float, float], int, int]:
    """A bystander's p50 and p99, how many of its calls failed, and the most that a process came to weigh more."""

    async def call() -> tuple[tuple[float, float], int, int]:
        around = bystander(mesh)
        async with weighed(processes(mesh)) as most, around.calling():
            await asyncio.sleep(seconds)
        return (around.percentile(0.5), around.percentile(0.99)), len(around.failures), max(most.values())

    return asyncio.run(call())


def measure(mesh: Mesh, where: str, flood: str, rounds: int, seconds: float) -> Figure:
    """Calm and flood in turn."""
    forked = multiprocessing.get_context("fork")
    weights = {name: resident(pid) for name, pid in processes(mesh).items()}
    calm, flooded, failures, more, sent = [], [], 0, 0, 0
    for _ in range(rounds):
        calm.append(_called(mesh, seconds)[0])
        told: multiprocessing.Queue[int] = forked.Queue()
        attacker = forked.Process(target=_flooding, args=(mesh, where, flood, seconds + 2 * _BEFORE_SECONDS, told))
        attacker.start()
        time.sleep(_BEFORE_SECONDS)
        found, failed, heavier = _called(mesh, seconds)
        sent += told.get(timeout=60)
        attacker.join(60)
        flooded.append(found)
        failures, more = failures + failed, max(more, heavier)
        time.sleep(_AFTER_SECONDS)
    left = sum(resident(pid) - weights[name] for name, pid in processes(mesh).items())
    ratios = [(f50 / c50, f99 / c99) for (c50, c99), (f50, f99) in zip(calm, flooded, strict=True)]
    return Figure(where, flood, rounds, _middle(calm), _middle(flooded), _middle(ratios), sent, failures, more, left)


def _middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def measured(doors: Sequence[str], floods: Sequence[str], rounds: int, seconds: float) -> Iterator[Figure]:
    """Each flood of each port, on one mesh."""
    with (
        tempfile.TemporaryDirectory(prefix="weft-hostile-") as directory,
        running_target(Path(directory)) as mesh,
        mesh.applied(PAGE),
    ):
        _called(mesh, seconds)  # the first calls are slower
        for where in doors:
            for flood in DOORS[where]:
                if not floods or flood in floods:
                    yield measure(mesh, where, flood, rounds, seconds)


def main() -> int:
    """Exit code 1 if a bystander's request failed."""
    names = sorted({flood for given in DOORS.values() for flood in given})
    parser = argparse.ArgumentParser(prog="./run hostile", description="ten floods, and what they cost a bystander")
    parser.add_argument("--rounds", type=int, default=3, help="how often each; medians are shown")
    parser.add_argument("--seconds", type=float, default=4.0, help="of calm, and of flood")
    parser.add_argument("--door", nargs="+", choices=list(DOORS), default=list(DOORS), help="all, if not said")
    parser.add_argument("--flood", nargs="+", choices=names, default=[], help="all, if not said")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    sys.stdout.write(f"{HEAD}\n")
    figures = []
    for figure in measured(arguments.door, arguments.flood, arguments.rounds, arguments.seconds):
        figures.append(figure)
        sys.stdout.write(f"{figure}\n")
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")
    return 1 if any(figure.failures for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
