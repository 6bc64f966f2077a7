"""Many simulated streams against the xDS server: first load, changes of each kind, restart, rest and memory.

By itself, ``python -m bench.streams --help``, it measures one shape and can print where the server's time goes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.arms import THIS, Arm, Arms, Samples, Table, compare
from bench.commands import Figures, Server, serving
from bench.figures import Series, series
from bench.machine import Cores, choose_cores
from bench.processes import BenchError, free_port, started
from bench.report import to_plain
from bench.streams_certificates import write_certificates
from bench.streams_client import ASKS
from bench.synthetic import Shape, asked_clusters, caller_identity, caller_name

PER_CLIENT = 500
LOADING = 300.0
"""Seconds in which all proxies must have loaded."""
USES = 10


@dataclass(frozen=True)
class Effort:
    """How often a change is repeated: with one stream, with all streams; seconds of rest."""

    alone: int
    changes: int
    rest: float


FULL, QUICK = Effort(6, 20, 10.0), Effort(3, 5, 3.0)


@dataclass(frozen=True)
class Setting:
    """What one round runs on. Certificates are in `directory`."""

    directory: Path
    cores: Cores
    shape: Shape
    effort: Effort

    @property
    def label(self) -> str:
        """What is measured, for people."""
        scope = f"scoped to {self.shape.uses}" if self.shape.uses else "unscoped"
        scope = f"{self.shape.asks} on demand" if self.shape.asks else scope
        return f"{scope}, {self.shape.callers} streams"


def prepare(setting: Setting) -> None:
    """What clients and servers read: certificates, and the names of the callers."""
    shape = setting.shape
    callers = [(caller_name(shape, number), caller_identity(shape, number)) for number in range(shape.callers)]
    write_certificates(setting.directory, callers)
    (setting.directory / "callers").write_text("\n".join(name for name, _ in callers))
    asks = [" ".join(asked_clusters(shape, number)) for number in range(shape.callers)] if shape.asks else ()
    (setting.directory / ASKS).write_text("\n".join(asks))


def say(text: str) -> None:
    """Progress."""
    print(f"bench: streams: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def connected(directory: Path, core: int, first: int, end: int, port: int) -> Iterator[None]:
    """Running clients, from number `first` up to `end`, with the certificates in a directory."""
    with contextlib.ExitStack() as stack:
        for begin in range(first, end, PER_CLIENT):
            count = min(PER_CLIENT, end - begin)
            words = [str(directory), str(begin), str(count), str(port)]
            command = [sys.executable, "-m", "bench.streams_client", *words]
            stack.enter_context(
                started(
                    f"client-{begin}",
                    command,
                    directory,
                    core=core,
                    env=THIS.environment(),
                    patience=5,
                )
            )
        yield


def wait_current(server: Server, count: int) -> Figures:
    """Until all proxies hold everything."""
    end = time.monotonic() + LOADING
    while True:
        asked = time.monotonic()
        state = server.ask("state")
        if state["current"] >= count:
            return state
        now = time.monotonic()
        if now > end:
            raise BenchError(f"{state['current']:.0f} of {count} proxies are current after {LOADING:g} s")
        time.sleep(max(0.05, 10 * (now - asked)))  # so that asking delays the server little


class Round:
    """One round of one arm: figures by name, and profiles when they are wanted."""

    def __init__(self, setting: Setting, arm: Arm, profiles: list[str] | None = None) -> None:
        self._setting = setting
        self._arm = arm
        self._profiles = profiles
        self._count = setting.shape.callers
        self._once: dict[str, list[float]] = {}
        self.samples: Samples = {}

    def run(self) -> Samples:
        """Everything, in the order in which a control plane lives."""
        port = free_port()
        with contextlib.ExitStack() as clients:
            with self._serving(port) as server:
                empty = server.ask("state")
                self._note("memory: without streams, MB", empty["resident"] / 1e6)
                self._first(server, clients, port)
                self._load(server, clients, port)
                self._changes(server)
                self._rest(server)
            self._restart(port)
        return self.samples

    def _serving(self, port: int) -> contextlib.AbstractContextManager[Server]:
        words = [self._setting.directory, port, *astuple(self._setting.shape)]
        return serving(self._arm, "bench.streams_server", words, self._setting.cores.proxies)

    def _note(self, figure: str, *values: float) -> None:
        self.samples.setdefault(figure, []).extend(values)

    def _first(self, server: Server, clients: contextlib.ExitStack, port: int) -> None:
        """One stream: what a change costs besides the build, once: compilation of a class, and one push."""
        before = server.ask("state")
        clients.enter_context(connected(self._setting.directory, self._setting.cores.load, 0, 1, port))
        loaded = wait_current(server, 1)
        self._note("first proxy: CPU ms", 1e3 * (loaded["cpu"] - before["cpu"]))
        server.ask("change", "endpoint")
        for kind in ("endpoint", "route", "add"):
            with self._profiled(server, f"{kind}, one stream"):
                for _ in range(self._setting.effort.alone):
                    figures = server.ask("change", kind)
                    self._note(f"{KINDS[kind]}: CPU ms with one stream", 1e3 * figures["cpu"])
                    self._once.setdefault(kind, []).append(figures["cpu"] - figures["build"])
                    if kind == "add":
                        server.ask("change", "remove")

    def _load(self, server: Server, clients: contextlib.ExitStack, port: int) -> None:
        self._say("first load")
        before = server.ask("state")
        begun = time.monotonic()
        with self._profiled(server, "first load"):
            clients.enter_context(connected(self._setting.directory, self._setting.cores.load, 1, self._count, port))
            loaded = wait_current(server, self._count)
        streams = max(1, self._count - 1)
        self._note("first load: seconds", time.monotonic() - begun)
        self._note("first load: CPU ms per stream", 1e3 * (loaded["cpu"] - before["cpu"]) / streams)
        self._note("first load: bytes per stream", (loaded["bytes"] - before["bytes"]) / streams)
        self._note("memory: after first load, MB", loaded["resident"] / 1e6)

    def _changes(self, server: Server) -> None:
        server.ask("change", "endpoint")
        repeats = {"endpoint": self._setting.effort.changes, "route": self._setting.effort.changes, "add": 3}
        for kind, repeat in repeats.items():
            self._say(KINDS[kind])
            with self._profiled(server, kind):
                for _ in range(repeat):
                    self._change(kind, server.ask("change", kind))
                    if kind == "add":
                        server.ask("change", "remove")
            if kind == "route":
                self._note("memory: after changes, MB", server.ask("state")["resident"] / 1e6)
        if self._setting.shape.uses:
            for _ in range(repeats["endpoint"] // 2):
                figures = server.ask("change", "endpoint", 1)
                self._note(f"{FEW}: CPU ms in all", 1e3 * figures["cpu"])
                self._note(f"{FEW}: proxies that confirmed", figures["confirmed"])

    def _change(self, kind: str, figures: Figures) -> None:
        name = KINDS[kind]
        before = figures["build"] + series(self._once[kind]).median
        pushes = figures["confirmed"]
        self._note(f"{name}: proxies that confirmed", pushes)
        self._note(f"{name}: CPU ms of the build", 1e3 * figures["build"])
        self._note(f"{name}: CPU ms before any push", 1e3 * before)
        if pushes > 1:
            self._note(f"{name}: CPU µs per push", 1e6 * max(0.0, figures["cpu"] - before) / (pushes - 1))
        self._note(f"{name}: CPU ms in all", 1e3 * figures["cpu"])
        self._note(f"{name}: % of the CPU in the event loop's thread", 100 * figures["thread"] / figures["cpu"])
        self._note(f"{name}: seconds to the last ACK", figures["seconds"])
        self._note(f"{name}: bytes per stream", figures["bytes"] / self._count)
        self._note(f"{name}: peak of memory in flight, MB", max(0.0, figures["peak"] / 1e6))

    def _rest(self, server: Server) -> None:
        self._say("rest")
        with self._profiled(server, "rest"):
            share = server.ask("rest", self._setting.effort.rest)["share"]
        self._note("rest: % of a core", 100 * share)
        self._note("memory: at the end, MB", server.ask("state")["resident"] / 1e6)
        server.ask("change", "restore")

    def _restart(self, port: int) -> None:
        """The clients are still there and hold everything."""
        self._say("restart")
        begun = time.monotonic()
        with self._serving(port) as server:
            listening = time.monotonic()
            with self._profiled(server, "restart"):
                again = wait_current(server, self._count)
            self._note("restart: seconds until listening", listening - begun)
            self._note("restart: seconds from listening until all are current", time.monotonic() - listening)
            self._note("restart: CPU ms per stream", 1e3 * (again["cpu"] - server.ready["cpu"]) / self._count)
            self._note("restart: bytes per stream", again["bytes"] / self._count)

    @contextlib.contextmanager
    def _profiled(self, server: Server, what: str) -> Iterator[None]:
        if self._profiles is None:
            yield
            return
        server.ask("profile")
        yield
        self._profiles.append(f"=== {self._setting.label}: {what} ===\n{server.text('profiled', 15)}")

    def _say(self, what: str) -> None:
        say(f"{self._setting.label}, {self._arm.name}: {what}")


KINDS = {"endpoint": "endpoint change", "route": "route change", "add": "service added"}
ALONE = "CPU µs per push of gRPC alone"
FEW = "endpoint change that few use"


def push_yardstick(setting: Setting, sizes: dict[str, int], repeat: int) -> Samples:
    """What gRPC alone costs for a push of these sizes to as many streams, with the same clients."""
    samples: Samples = {}
    with (
        serving(THIS, "bench.streams_echo", [setting.directory], setting.cores.proxies) as server,
        connected(setting.directory, setting.cores.load, 0, setting.shape.callers, int(server.ready["port"])),
    ):
        wait_current(server, setting.shape.callers)
        server.ask("push", 1)
        for what, size in sizes.items():
            for _ in range(repeat):
                figures = server.ask("push", size)
                each = 1e6 * figures["cpu"] / setting.shape.callers
                samples.setdefault(f"{what}: {ALONE}", []).append(each)
                samples.setdefault(f"{what}: seconds of gRPC alone", []).append(figures["seconds"])
    return samples


def measure_setting(setting: Setting, arms: Arms) -> tuple[dict[str, Table], dict[str, Series | float]]:
    """The table by arm, and the yardstick of it."""
    prepare(setting)
    sizes: dict[str, int] = {}

    def measure(arm: Arm) -> Samples:
        samples = Round(setting, arm).run()
        for kind in ("endpoint", "route"):
            sizes.setdefault(KINDS[kind], int(series(samples[f"{KINDS[kind]}: bytes per stream"]).median))
        return samples

    table = compare(arms, measure)
    say(f"{setting.label}: gRPC alone")
    alone = push_yardstick(setting, sizes, max(3, setting.effort.changes // 4))
    yardsticks: dict[str, Series | float] = {figure: series(values) for figure, values in alone.items()}
    for change in sizes:
        ours = table[arms[0].name].get(f"{change}: CPU µs per push")
        if isinstance(ours, Series):
            yardsticks[f"{change}: CPU per push ÷ gRPC alone"] = (
                ours.median / series(alone[f"{change}: {ALONE}"]).median
            )
    return table, yardsticks


def measure_streams(directory: Path, cores: Cores, *, quick: bool, arms: Arms = (THIS,)) -> dict[str, object]:
    """The section of the report: each shape at each number of streams, with its yardsticks."""
    services, counts = (200, (100,)) if quick else (1000, (1000, 2000))
    kinds = ({"uses": 0}, {"uses": USES}, {"asks": USES})
    shapes = [Shape(services, 10, count, **kind) for count in counts for kind in kinds]
    return measure_shapes(directory, cores, shapes, QUICK if quick else FULL, arms)


def measure_shapes(directory: Path, cores: Cores, shapes: list[Shape], effort: Effort, arms: Arms) -> dict[str, object]:
    """The figures of these shapes, by arm."""
    tables: dict[str, dict[str, object]] = {}
    yardsticks: dict[str, object] = {"ms for 10,000 SHA-256 of 1 KB": yardstick()}
    for number, shape in enumerate(shapes):
        below = directory / str(number)
        below.mkdir(mode=0o700)
        setting = Setting(below, cores, shape, effort)
        table, alone = measure_setting(setting, arms)
        for arm, figures in table.items():
            rows = {f"{setting.label}: {figure}": value for figure, value in figures.items()}
            tables.setdefault(arm, {}).update(rows)
        yardsticks[setting.label] = alone
    return {"services": shapes[0].services, "arms": tables, "yardstick": yardsticks}


def yardstick() -> float:
    """How fast this machine is at the moment."""
    block = bytes(1024)
    begun = time.process_time()
    for _ in range(10_000):
        hashlib.sha256(block).digest()
    return 1000 * (time.process_time() - begun)


def main() -> None:
    """Stand-alone: one shape of this tree; the figures as JSON, then the profiles."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    parser.add_argument("--uses", type=int, default=0, help="services that each proxy declares; 0: it sees all")
    parser.add_argument("--asks", type=int, default=0, help="clusters that each proxy asks for when it has loaded")
    parser.add_argument("--changes", type=int, default=QUICK.changes)
    parser.add_argument("--profile", action="store_true", help="print where the time goes; it makes all figures larger")
    arguments = parser.parse_args()
    shape = Shape(arguments.services, arguments.endpoints, arguments.streams, arguments.uses, asks=arguments.asks)
    profiles: list[str] | None = [] if arguments.profile else None
    with tempfile.TemporaryDirectory(prefix="weft-streams-") as directory:
        setting = Setting(Path(directory), choose_cores(), shape, Effort(QUICK.alone, arguments.changes, 5.0))
        prepare(setting)
        samples = Round(setting, THIS, profiles).run()
    print(json.dumps(to_plain({figure: series(values) for figure, values in samples.items()}), indent=2))
    print("\n".join(profiles or ()))


if __name__ == "__main__":
    main()
