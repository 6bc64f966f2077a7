"""A mesh of ten thousand services: build, compile, memory, bytes and CPU per push, without gRPC."""

from __future__ import annotations

import sys
from dataclasses import astuple
from pathlib import Path

from bench.arms import THIS, Arm, Arms, Samples, compare
from bench.commands import Figures, Server, serving
from bench.machine import Cores
from bench.streams import FEW, KINDS, USES, yardstick
from bench.synthetic import Shape

FULL = Shape(services=10_000, endpoints=10, callers=2000, uses=USES, namespaces=50)
QUICK = Shape(services=1000, endpoints=10, callers=200, uses=USES, namespaces=10)


class Round:
    """One round of one arm."""

    def __init__(self, cores: Cores, shape: Shape, arm: Arm, repeat: int) -> None:
        self._cores = cores
        self._shape = shape
        self._arm = arm
        self._repeat = repeat
        self.samples: Samples = {}

    def run(self) -> Samples:
        """Build, load, and one change of each kind."""
        with serving(self._arm, "bench.size_server", astuple(self._shape), self._cores.proxies) as server:
            self._say("build")
            built = server.ask("build")
            self._note("first build: CPU s", built["cpu"])
            self._note("memory: documents and registrations, MB", built["documents"] / 1e6)
            self._note("memory: after the first build, MB", built["resident"] / 1e6)
            self._say("first load")
            loaded = server.ask("load")
            self._note("first load: CPU ms per session", 1e3 * loaded["cpu"] / self._shape.callers)
            self._note("first load: bytes per session", loaded["bytes"] / self._shape.callers)
            self._note("memory: after first load, MB", loaded["resident"] / 1e6)
            resident = self._changes(server)
            self._note("memory: after changes, MB", resident / 1e6)
            server.ask("close")
        return self.samples

    def _changes(self, server: Server) -> float:
        server.ask("change", "endpoint")
        last: Figures = {}
        for _ in range(self._repeat):
            for name, words in (
                (KINDS["endpoint"], ("endpoint", 0)),
                (FEW, ("endpoint", 1)),
                (KINDS["route"], ("route",)),
                (KINDS["add"], ("add",)),
            ):
                self._say(name)
                self._change(name, server.ask("change", *words))
            last = server.ask("change", "remove")
        return last["resident"]

    def _change(self, name: str, figures: Figures) -> None:
        pushes = figures["pushes"]
        self._note(f"{name}: CPU ms of the build", 1e3 * figures["build"])
        self._note(f"{name}: CPU ms before any push", 1e3 * figures["before"])
        self._note(f"{name}: CPU ms in all", 1e3 * figures["cpu"])
        self._note(f"{name}: pushes", pushes)
        if pushes >= self._shape.callers:
            self._note(f"{name}: CPU µs per push", 1e6 * max(0.0, figures["cpu"] - figures["before"]) / pushes)
        if pushes:
            self._note(f"{name}: bytes per push", figures["bytes"] / pushes)
        self._note(f"{name}: peak of memory in flight, MB", max(0.0, figures["peak"] / 1e6))

    def _note(self, figure: str, value: float) -> None:
        self.samples.setdefault(figure, []).append(value)

    def _say(self, what: str) -> None:
        size = f"{self._shape.services} services, {self._shape.callers} sessions"
        print(f"bench: size: {size}, {self._arm.name}: {what}", file=sys.stderr, flush=True)


def measure_size(_: Path, cores: Cores, *, quick: bool, arms: Arms = (THIS,)) -> dict[str, object]:
    """The section of the report."""
    return measure_shape(cores, QUICK if quick else FULL, 2 if quick else 3, arms)


def measure_shape(cores: Cores, shape: Shape, repeat: int, arms: Arms) -> dict[str, object]:
    """The figures of a mesh of this shape, by arm."""
    return {
        "services": shape.services,
        "endpoints": shape.services * shape.endpoints,
        "namespaces": shape.namespaces,
        "sessions": shape.callers,
        "services that each uses": shape.uses,
        "arms": compare(arms, lambda arm: Round(cores, shape, arm, repeat).run()),
        "yardstick": {"ms for 10,000 SHA-256 of 1 KB": yardstick()},
    }
