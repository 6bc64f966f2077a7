"""A day of edits in one minute: random edits of a large mesh's documents and endpoints, while real Envoys serve.

Every kind of edit that people and machines make in a day, ten a second, and requests whose answers must stay right:
also those of services whose own rules are edited in ways that harm nobody. At the end everything is as it was.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.edits_documents import (
    OTHERS,
    STEPPED,
    called_documents,
    http_route,
    peers,
    rule,
    service,
    stepped,
    virtual_service,
)
from bench.edits_requests import Requests
from bench.figures import series, tail
from bench.machine import Cores, cpu_seconds, resident_bytes
from bench.mesh import BenchMesh
from bench.processes import BenchError, wait_until
from bench.registrations import Agent
from bench.registrations_seed import register_services
from bench.synthetic import backend
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

BACKEND = [sys.executable, "-m", "bench.edits_backend"]
IDLE = [sys.executable, "-c", "import signal; signal.pause()"]
PORT = ("--port", "8080:auto", "--health", "tcp", "--labels", "app=backend")
WORKLOADS = {
    "one": (BACKEND, (*PORT,)),
    "two": (BACKEND, (*PORT, "--labels", "version=v2", "--scope", "all")),
    "three": (IDLE, [word for name in (*STEPPED, "plain") for word in ("--uses", name)]),
}
"""Three Envoys that all call: told on demand, told all, and told what it says it uses. Two of them serve."""
_CHUNK = 250
_PATIENCE = 60.0
_FIRST_EDITS = 10


@dataclass(frozen=True)
class Day:
    """How large the mesh is and how much happens: edits and requests per second."""

    services: int
    edits: int
    pace: float
    rate: float
    endpoints: int = 10
    pause: float = 8.0
    """Seconds after which what nobody needs is forgotten and given back to the system."""


FULL, QUICK = Day(1000, 500, 10.0, 200.0), Day(100, 60, 8.0, 50.0)


@dataclass
class Editor:
    """Makes edits, one call each, and knows what is there. `made` are their times, kinds and seconds."""

    mesh: BenchMesh
    agent: Agent
    day: Day
    chance: random.Random
    step: int = 0
    documents: dict[str, str] = field(default_factory=dict)
    added: dict[str, tuple[str, str]] = field(default_factory=dict)
    endpoints: dict[str, int] = field(default_factory=dict)
    made: list[tuple[float, str, float]] = field(default_factory=list)

    def edit(self) -> None:
        """One edit of a random kind."""
        self.step += 1
        kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (4, self.change_called),
            (2, self.change_called_rule),
            (2, self.comment),
            (1, self.flip_peers),
            (3, self.put_route),
            (2, self.put_rule),
            (2, self.put_service),
            (3, self.remove),
            (3, self.add_endpoint),
            (2, self.remove_endpoint),
        )
        [act] = self.chance.choices([act for _, act in kinds], [weight for weight, _ in kinds])
        begun = time.monotonic()
        act()
        self.made.append((begun, act.__name__, time.monotonic() - begun))

    def begin(self) -> None:
        """The documents of the beginning."""
        self.documents = called_documents(self.chance)
        texts = [*self.documents.values(), *(service(f"service-{number}") for number in range(self.day.services))]
        for first in range(0, len(texts), _CHUNK):
            self._apply("---\n".join(texts[first : first + _CHUNK]))

    def change_called(self) -> None:
        """Header, timeout, weights, retries or mirror of a service that is called."""
        name = self.chance.choice(STEPPED)
        self._apply(stepped(name, self.step, self.chance))

    def change_called_rule(self) -> None:
        """Load balancing or a connection limit of a service that is called."""
        self._apply(rule(self.chance.choice(("plain", "pinned", "divided")), self.chance, "default"))

    def comment(self) -> None:
        """Documents that say the same, further down."""
        text = self.documents[self.chance.choice([key for key in self.documents if key.startswith("service ")])]
        self._apply(f"# edit {self.step}\n\n{text}")

    def flip_peers(self) -> None:
        """Plaintext is allowed, or no longer."""
        self._apply(peers(self.chance.choice(("STRICT", "PERMISSIVE"))))

    def put_route(self) -> None:
        """A route, new or changed, of a service that nobody calls."""
        name, write = self._other(), self.chance.choice((http_route, virtual_service))
        kind = "httproute" if write is http_route else "virtualservice"
        self._apply(write(name, self.step, self.chance))
        self.added[f"{kind} {name}"] = (kind, name)

    def put_rule(self) -> None:
        """Load balancing and subsets of a service that nobody calls."""
        name = self._other()
        self._apply(rule(name, self.chance))
        self.added[f"rule {name}"] = ("destinationrule", name)

    def put_service(self) -> None:
        """A service that was not there."""
        name = f"added-{self.step}"
        self._apply(service(name))
        self.added[f"service {name}"] = ("service", name)

    def remove(self) -> None:
        """Something that was added is taken away."""
        if not self.added:
            self.put_service()
        kind, name = self.added.pop(self.chance.choice(sorted(self.added)))
        self.mesh.call("DELETE", f"documents/{kind}/{OTHERS}/{name}")

    def add_endpoint(self) -> None:
        """An instance comes, or has other labels, or another address."""
        app, number = self._other(), self.chance.randrange(4)
        name = f"{app}-added-{number}"
        workload = backend(name, OTHERS, app, 1 << 20 | self.step)
        labels = (("app", app), ("version", self.chance.choice(("v1", "v2"))))
        self.agent.register(workload, labels)
        self.endpoints[name] = self.step

    def remove_endpoint(self) -> None:
        """An instance goes."""
        if not self.endpoints:
            self.add_endpoint()
        name = self.chance.choice(sorted(self.endpoints))
        del self.endpoints[name]
        self.agent.remove(OTHERS, name)

    def finish(self) -> float:
        """The last edit, of every service that is called; when it was begun."""
        self.step += 1
        begun = time.monotonic()
        self._apply("---\n".join(stepped(name, self.step, self.chance) for name in STEPPED))
        return begun

    def restore(self) -> None:
        """As it was in the beginning."""
        while self.added:
            self.remove()
        while self.endpoints:
            self.remove_endpoint()
        self._apply("---\n".join(self.documents.values()))

    def _other(self) -> str:
        return f"service-{self.chance.randrange(self.day.services)}"

    def _apply(self, text: str) -> None:
        self.mesh.call("POST", "documents", text)


def measure_edits(directory: Path, _: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report."""
    return live(directory, QUICK if quick else FULL)


def live(directory: Path, day: Day, seed: int = 1) -> dict[str, object]:
    """A day, from the start of the control plane until everything is as it was; its figures."""
    mesh = BenchMesh(directory / "home", directory, Cores(-1, -1))
    home = Home(mesh.home)
    for below in (home.root, home.control_plane):
        below.mkdir(mode=0o700)
    asyncio.run(register_services(home, day.services, day.endpoints, OTHERS))
    with ExitStack() as stack:
        serving = stack.enter_context(mesh.serving("--lease", "600"))
        agent = Agent(str(home.agent_socket))
        stack.callback(agent.close)
        editor = Editor(mesh, agent, day, random.Random(seed))
        editor.begin()
        for name, (command, words) in WORKLOADS.items():
            stack.enter_context(mesh.running(name, command, *words, env={"WORKLOAD": name}, wait=False))
        for name in WORKLOADS:
            wait_until(f"{name} is healthy", partial(_is_healthy, mesh, name), 60.0)
        proxies = {name: "http://{}:{}".format(*mesh.outbound(name)) for name in WORKLOADS}
        processes = {"control plane": serving.pid} | {f"envoy {name}": mesh.envoy_pid(name) for name in WORKLOADS}
        return asyncio.run(Watch(editor, Requests(proxies), processes).run())


def _is_healthy(mesh: BenchMesh, name: str) -> bool:
    return bool(mesh.workload(name)["state"] == "healthy")


class Watch:
    """One day, watched."""

    def __init__(self, editor: Editor, requests: Requests, processes: dict[str, int]) -> None:
        self._editor = editor
        self._requests = requests
        self._processes = processes
        self._in_force = self._confirmed = self._cpu = 0.0
        self._busy: dict[str, float] = {}

    async def run(self) -> dict[str, object]:
        """The figures."""
        day = self._editor.day
        await self._until_seen(0)
        for _ in range(20):  # so that each caller has asked for what it needs
            await self._requests.steps()
        await self._first_edits()
        await asyncio.sleep(day.pause)
        held, memory = await self._held(), await self._memory()
        await self._requests.run(day.rate, self._day())
        await asyncio.sleep(day.pause)
        after, left, made = await self._memory(), await self._held(), self._editor.made
        return {
            "services": day.services,
            "edits": len(made),
            "requests": self._requests.sent,
            "requests_failed": len(self._requests.failures),
            "failures": self._failures(),
            "slowest_request_s": self._requests.slowest,
            "last_state_in_force_s": self._in_force,
            "last_state_confirmed_s": self._confirmed,
            "edit_call_ms": series([1e3 * seconds for _, _, seconds in made]),
            "edit_call_p99_ms": tail([1e3 * seconds for _, _, seconds in made], 0.99),
            "control_plane_cpu_per_edit_ms": 1e3 * self._cpu / len(made),
            "left": {name: now - held[name] for name, now in left.items() if now != held[name]},
            "memory_mb": {
                name: {"before": memory[name], "at the end of the day": self._busy[name], "after": after[name]}
                for name in memory
            },
        }

    async def _first_edits(self) -> None:
        """A few edits and back, so that what a process needs once is not taken for what a day leaves behind."""
        for _ in range(_FIRST_EDITS):
            await asyncio.to_thread(self._editor.edit)
        await asyncio.to_thread(self._editor.finish)
        await self._until_seen(self._editor.step)
        await asyncio.to_thread(self._editor.restore)
        await self._until_seen(0)
        await asyncio.to_thread(wait_until, "all confirmed", self._all_confirmed, _PATIENCE)
        self._editor.made.clear()

    async def _day(self) -> None:
        day, begun = self._editor.day, time.monotonic()
        cpu = cpu_seconds(self._processes["control plane"])
        for number in range(day.edits):
            await asyncio.sleep(max(0.0, begun + number / day.pace - time.monotonic()))
            await asyncio.to_thread(self._editor.edit)
        begun = await asyncio.to_thread(self._editor.finish)
        await self._until_seen(self._editor.step)
        self._in_force = time.monotonic() - begun
        await asyncio.to_thread(wait_until, "all confirmed", self._all_confirmed, _PATIENCE)
        self._confirmed = time.monotonic() - begun
        self._cpu = cpu_seconds(self._processes["control plane"]) - cpu
        self._busy = await self._memory()
        await asyncio.to_thread(self._editor.restore)
        await self._until_seen(0)
        await asyncio.to_thread(wait_until, "all confirmed", self._all_confirmed, _PATIENCE)

    async def _until_seen(self, step: int) -> None:
        """Until every Envoy answers with a step for every called service."""
        end = time.monotonic() + _PATIENCE
        while set((seen := await self._requests.steps()).values()) != {str(step)}:
            if time.monotonic() > end:
                raise BenchError(f"step {step} is not in force after {_PATIENCE:g} s: {seen}")
            await asyncio.sleep(0.01)

    def _all_confirmed(self) -> bool:
        found: list[dict[str, Any]] = self._editor.mesh.call("GET", "proxies")["proxies"]
        return len(found) == len(WORKLOADS) and all(one["revision_acked"] == one["revision"] for one in found)

    async def _held(self) -> dict[str, int]:
        """How many clusters and listeners the Envoys have, and documents and such the control plane."""
        mesh, found = self._editor.mesh, dict[str, int]()
        for name in WORKLOADS:
            stats = await self._stats(name, "cluster_manager.active_clusters|listener_manager.total_listeners_active")
            found |= {f"{name}: {stat}": value for stat, value in stats.items()}
        for what in ("documents", "workloads", "problems"):
            found[what] = len((await asyncio.to_thread(mesh.call, "GET", what))[what])
        return found

    async def _memory(self) -> dict[str, float]:
        """Resident memory of each process in MB, and what of it Envoys have allocated."""
        found = {name: resident_bytes(pid) / 1e6 for name, pid in self._processes.items()}
        for name in WORKLOADS:
            allocated = (await self._stats(name, "server.memory_allocated")).values()
            found[f"envoy {name}, allocated"] = sum(allocated) / 1e6
        return found

    async def _stats(self, name: str, pattern: str) -> dict[str, int]:
        home = Home(self._editor.mesh.home)
        admin = EnvoyAdmin(home.socket(home.workload("default", name) / "admin.sock"))
        return await admin.gauges(f"^({pattern})$") or {}

    def _failures(self) -> list[str]:
        """Each with the edits just before it."""
        told = []
        for each in self._requests.failures[:20]:
            ages = [(each.sent - when, kind) for when, kind, _ in self._editor.made]
            edits = ", ".join(f"{kind} {age:.3f} s" for age, kind in ages if -0.1 < age < 1)
            told.append(f"{each.caller} to {each.service}: {each.text} after {edits}")
        return told


def main() -> None:
    """One day by itself, with its failures."""
    import tempfile  # noqa: PLC0415

    small = "--quick" in sys.argv
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        print(json.dumps(live(Path(directory), QUICK if small else FULL), indent=1, default=lambda one: one.__dict__))


if __name__ == "__main__":
    main()
