"""A large mesh with sessions but without gRPC: what building, compiling and offering cost by themselves."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.commands import Action, Figures, answer_commands
from bench.engine import Engine, collect_seldom
from bench.machine import peak_bytes, reset_peak, resident_bytes
from bench.simulated import Responses, SimulatedProxy
from bench.synthetic import Shape, World, asked_clusters, caller_identity, caller_name
from weft.model.snapshot import ConfigSnapshot

PATIENCE = 200.0


class Clients:
    """All simulated proxies, in this process. The CPU time that they take themselves is `cpu`."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.bytes = 0
        self.pushes = 0
        self.first_push: float | None = None
        self._responses = Responses()

    def answer(self, proxy: SimulatedProxy, raw: bytes) -> list[bytes]:
        """What a proxy says to a response."""
        begun = time.thread_time()
        if self.first_push is None:
            self.first_push = time.process_time()
        self.bytes += len(raw)
        self.pushes += 1
        requests = proxy.answer(raw)
        self.cpu += time.thread_time() - begun
        return requests

    def proxy(self, name: str, asks: tuple[str, ...]) -> SimulatedProxy:
        """A new one."""
        return SimulatedProxy(name, self._responses, asks)


async def run_stream(stream: Any, proxy: SimulatedProxy, clients: Clients) -> None:
    """One stream whose wire is a queue."""
    requests: asyncio.Queue[bytes | None] = asyncio.Queue()
    first, *others = proxy.opening()
    for request in others:
        requests.put_nowait(request)

    async def write(raw: bytes) -> None:
        for request in clients.answer(proxy, raw):
            requests.put_nowait(request)

    stream.take(first)
    await stream.run(requests.get, write)


class SizeServer:
    """The mesh, its control plane and its proxies."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._world = World(shape)
        self._engine = Engine()
        self._clients = Clients()
        self._streams: set[asyncio.Task[None]] = set()
        self._revision = 0

    async def build(self) -> Figures:
        """The first build, with nobody connected."""
        before = resident_bytes(os.getpid())
        cpu = time.process_time()
        await self._publish(self._world.snapshot())
        resident = resident_bytes(os.getpid())
        return {"cpu": time.process_time() - cpu, "documents": before, "resident": resident}

    async def load(self) -> Figures:
        """Every proxy connects and holds everything."""
        cpu, clients = time.process_time(), self._clients.cpu
        for number in range(self._shape.callers):
            name = caller_name(self._shape, number)
            stream = self._engine.attach(name, caller_identity(self._shape, number))
            proxy = self._clients.proxy(name, asked_clusters(self._shape, number))
            self._streams.add(asyncio.create_task(run_stream(stream, proxy, self._clients)))
            await asyncio.sleep(0)
        asking = 0.0
        async with asyncio.timeout(PATIENCE):
            while True:
                await asyncio.sleep(0.2)
                begun = time.process_time()
                current = self._engine.current(self._revision)
                asking += time.process_time() - begun
                if current == self._shape.callers:
                    break
        used = time.process_time() - cpu - (self._clients.cpu - clients) - asking
        return {"cpu": used, "bytes": self._clients.bytes, "resident": resident_bytes(os.getpid())}

    async def change(self, kind: str, service: int = 0) -> Figures:
        """One change, until every proxy that it concerns has confirmed it."""
        edits: dict[str, Callable[[], ConfigSnapshot]] = {
            "endpoint": lambda: self._world.move_endpoint(service),
            "route": self._world.change_route,
            "add": self._world.add_service,
            "remove": self._world.remove_service,
        }
        snapshot = edits[kind]()
        clients = self._clients
        clients.first_push = None
        resident = resident_bytes(os.getpid())
        reset_peak()
        sent, pushes, ours = clients.bytes, clients.pushes, clients.cpu
        begun, cpu = time.perf_counter(), time.process_time()
        built = await self._publish(snapshot)
        confirmed = await self._engine.wait(self._revision, PATIENCE)
        end = time.process_time()
        return {
            "seconds": time.perf_counter() - begun,
            "cpu": end - cpu - (clients.cpu - ours),
            "build": built,
            "before": (clients.first_push or end) - cpu,
            "confirmed": confirmed,
            "pushes": clients.pushes - pushes,
            "bytes": clients.bytes - sent,
            "peak": peak_bytes(os.getpid()) - resident,
            "resident": resident_bytes(os.getpid()),
        }

    async def close(self) -> Figures:
        """End the streams."""
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        return {}

    async def _publish(self, snapshot: ConfigSnapshot) -> float:
        self._revision = snapshot.revision
        return await self._engine.publish(snapshot)


async def main(shape: Shape) -> None:
    """Work until stdin ends."""
    server = SizeServer(shape)
    actions: dict[str, Action] = {
        "build": server.build,
        "load": server.load,
        "change": server.change,
        "close": server.close,
    }
    await answer_commands(actions, {"resident": resident_bytes(os.getpid())})


if __name__ == "__main__":
    collect_seldom()
    asyncio.run(main(Shape(*map(int, sys.argv[1:]))))
