"""The server side of the streams benchmark: hub and xDS server as in `weft serve`, steered by JSON lines on stdin."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.machine import cpu_seconds, resident_bytes
from bench.streams_mesh import backends, moved, proxies, service_documents, snapshot
from weft.aio.collection import collect_seldom
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.server import serve_xds
from weft.mesh.model import Mesh

Figures = dict[str, float]


@dataclass(frozen=True)
class Material:
    """The server's certificate."""

    key: str
    chain: str
    bundle: str


class Bench:
    """The build loop in miniature."""

    def __init__(self, services: int, count: int) -> None:
        self._compiler = MeshCompiler()
        self.hub: Hub[Mesh] = Hub(self._compiler, limits=Limits())
        self.documents = service_documents(services)
        self.backends = backends(services)
        self.proxies = {workload.proxy: workload for workload in proxies(count)}
        self.revision = 0

    async def publish(self) -> Figures:
        """Build the mesh and offer it."""
        self.revision += 1
        begun = time.perf_counter()
        workloads = [*self.backends, *self.proxies.values()]
        mesh = self._compiler.build(snapshot(self.revision, self.documents, workloads))
        built = time.perf_counter()
        await self.hub.publish(mesh, {workload.proxy: workload for workload in workloads}, self.revision)
        return {"mesh_seconds": built - begun, "publish_seconds": time.perf_counter() - built}

    async def change(self) -> Figures:
        """One endpoint moves; until every proxy has confirmed it."""
        sent = self._sent()
        cpu = cpu_seconds(os.getpid())
        begun = time.perf_counter()
        self.backends[0] = moved(self.backends[0], self.revision)
        figures = await self.publish()
        result = await self.hub.wait_revision(self.revision, 60)
        return {
            **figures,
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": cpu_seconds(os.getpid()) - cpu,
            "confirmed": len(result.confirmed),
            "bytes": self._sent() - sent,
        }

    async def state(self) -> Figures:
        """Memory, CPU so far, and how many proxies hold everything."""
        statuses = self.hub.proxies()
        return {
            "rss": resident_bytes(os.getpid()),
            "cpu_seconds": cpu_seconds(os.getpid()),
            "current": sum(status.revision_acked == self.revision and len(status.types) == 4 for status in statuses),
            "bytes": self._sent(),
        }

    async def collect(self) -> Figures:
        """Garbage collection, so that memory is that of living things."""
        return {"collected": gc.collect()}

    def _sent(self) -> int:
        return sum(status.bytes_sent for status in self.hub.proxies())


async def main(directory: Path, services: int, count: int, port: int) -> None:
    """Serve until stdin ends."""
    bench = Bench(services, count)
    await bench.publish()
    texts = [(directory / name).read_text() for name in ("server.key", "server.pem", "root.pem")]
    material = Material(*texts)
    actions: dict[str, Callable[[], Awaitable[Figures]]] = {
        "change": bench.change,
        "state": bench.state,
        "collect": bench.collect,
    }
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    lookup = bench.proxies.get
    async with serve_xds("127.0.0.1", port, material=lambda: material, hub=bench.hub, lookup=lookup) as bound:
        print(json.dumps({"port": bound}), flush=True)
        while line := await commands.readline():
            print(json.dumps(await actions[line.decode().strip()]()), flush=True)


if __name__ == "__main__":
    collect_seldom()
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
