"""The server side of the streams benchmark: hub and xDS server as in `weft serve`, steered by JSON lines on stdin."""

from __future__ import annotations

import asyncio
import cProfile
import io
import os
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.commands import Action, Figures, answer_commands
from bench.engine import Engine, collect_seldom, material_of
from bench.machine import peak_bytes, reset_peak, resident_bytes
from bench.synthetic import Shape, World
from weft.model.snapshot import ConfigSnapshot

QUIET = 0.25
SETTLING = 5.0
PATIENCE = 120.0
"""Seconds in which every proxy must have confirmed a change."""


class StreamsServer:
    """The build loop in miniature."""

    def __init__(self, shape: Shape) -> None:
        self.engine = Engine()
        self._world = World(shape)
        self._revision = 0
        self._asking = 0.0
        self._profile: cProfile.Profile | None = None

    async def publish(self, snapshot: ConfigSnapshot) -> float:
        """Build and offer; CPU seconds of the build."""
        self._revision = snapshot.revision
        return await self.engine.publish(snapshot)

    async def begin(self) -> None:
        """The first publication, before anybody is connected."""
        await self.publish(self._world.snapshot())

    async def change(self, kind: str, service: int = 0) -> Figures:
        """One change, until every proxy that it concerns has confirmed it."""
        edits: dict[str, Callable[[], ConfigSnapshot]] = {
            "endpoint": lambda: self._world.move_endpoint(service),
            "route": self._world.change_route,
            "add": self._world.add_service,
            "remove": self._world.remove_service,
            "restore": self._world.restore,
        }
        sent = self.engine.bytes_sent()
        snapshot = edits[kind]()
        resident = resident_bytes(os.getpid())
        reset_peak()
        begun, cpu, thread = time.perf_counter(), time.process_time(), time.thread_time()
        built = await self.publish(snapshot)
        confirmed = await self.engine.wait(self._revision, PATIENCE)
        figures = {
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
            "thread": time.thread_time() - thread,
            "build": built,
            "confirmed": confirmed,
            "peak": peak_bytes(os.getpid()) - resident,
        }
        return {**figures, "bytes": self.engine.bytes_sent() - sent}

    async def state(self) -> Figures:
        """Memory, CPU so far (without that of asking), and how many proxies hold everything."""
        begun = time.process_time()
        figures = {
            "cpu": begun - self._asking,
            "resident": resident_bytes(os.getpid()),
            "current": self.engine.current(self._revision),
            "bytes": self.engine.bytes_sent(),
        }
        self._asking += time.process_time() - begun
        return figures

    async def rest(self, seconds: float) -> Figures:
        """CPU seconds per second of doing nothing, once what follows the last change is over: what clients still had to
        say, and what the control plane clears up when nothing is to do."""
        await asyncio.sleep(SETTLING)
        for _ in range(40):
            cpu = time.process_time()
            await asyncio.sleep(QUIET)
            if time.process_time() - cpu < 0.02 * QUIET:
                break
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        return {"share": (time.process_time() - cpu) / (time.perf_counter() - begun)}

    async def profile(self) -> Figures:
        """From now on note where the main thread's time goes."""
        self._profile = cProfile.Profile()
        self._profile.enable()
        return {}

    async def profiled(self, rows: int) -> str:
        """The functions that took the most time of their own, and those with all they called."""
        if self._profile is None:
            return ""
        self._profile.disable()
        text = io.StringIO()
        found = pstats.Stats(self._profile, stream=text).strip_dirs()
        found.sort_stats("tottime").print_stats(rows)
        found.sort_stats("cumulative").print_stats(rows)
        self._profile = None
        return text.getvalue()


async def main(directory: Path, port: int, shape: Shape) -> None:
    """Serve until stdin ends."""
    server = StreamsServer(shape)
    await server.begin()
    actions: dict[str, Action] = {
        "change": server.change,
        "state": server.state,
        "rest": server.rest,
        "profile": server.profile,
        "profiled": server.profiled,
    }
    async with server.engine.serving(port, material_of(directory)) as bound:
        await answer_commands(actions, {"port": bound, "cpu": time.process_time()})


if __name__ == "__main__":
    collect_seldom()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Shape(*map(int, sys.argv[3:]))))
