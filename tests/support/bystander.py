"""Somebody who goes on calling while others flood, and what the processes under flood weigh."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from support.mesh import Mesh

_PAUSE = 0.02


@dataclass(frozen=True)
class Call:
    """One kind of request of a bystander."""

    url: str
    proxy: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Bystander:
    """Calls one after another, in turn, each over connections that it keeps. `failures` are what was not a 200."""

    calls: tuple[Call, ...]
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Calls until the block is left."""
        done = asyncio.Event()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            tasks = [asyncio.create_task(self._call(session, call, done)) for call in self.calls]
            try:
                yield
            finally:
                done.set()
                await asyncio.gather(*tasks)

    async def _call(self, session: aiohttp.ClientSession, call: Call, done: asyncio.Event) -> None:
        while not done.is_set():
            begun = time.monotonic()
            try:
                async with session.get(call.url, proxy=call.proxy, headers=call.headers) as answer:
                    await answer.read()
                    if answer.status != 200:
                        self.failures.append(f"{call.url}: {answer.status}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.failures.append(f"{call.url}: {error!r}")
            self.seconds.append(time.monotonic() - begun)
            await asyncio.sleep(_PAUSE)

    def p99(self) -> float:
        """What 99 of 100 took at most, in milliseconds."""
        return self.percentile(0.99)

    def percentile(self, share: float) -> float:
        """What such a share of them took at most, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def bystander(mesh: Mesh) -> Bystander:
    """Somebody who calls through a sidecar, through the gateway, and reads the admin API."""
    host, port = mesh.proxy_of("client")
    where = mesh.workload("front")["gateway"]["ports"][0][1]
    token = (mesh.home / "control-plane/admin.token").read_text().strip()
    return Bystander(
        (
            Call("http://shop/health", f"http://{host}:{port}"),
            Call(f"http://{where['host']}:{where['port']}/open", headers={"Host": "shop.example"}),
            Call(f"{mesh.endpoints()['admin']}/v1/workloads", headers={"Authorization": f"Bearer {token}"}),
        )
    )


def processes(mesh: Mesh) -> dict[str, int]:
    """The processes that floods are against."""
    envoys = {name: mesh.state(name)["envoy"]["pid"] for name in ("client", "shop", "front")}
    return {"control plane": mesh.processes["control-plane"].pid, **envoys}


def resident(pid: int) -> int:
    """The megabytes that a process has in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


@contextlib.asynccontextmanager
async def weighed(pids: Mapping[str, int]) -> AsyncIterator[dict[str, int]]:
    """The most megabytes that each has come to have in the meantime, besides those of before."""
    before = {name: resident(pid) for name, pid in pids.items()}
    most = dict.fromkeys(pids, 0)

    def look() -> None:
        for name, pid in pids.items():
            most[name] = max(most[name], resident(pid) - before[name])

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(watch())
    try:
        yield most
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        look()
