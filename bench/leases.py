"""Leases: what registering, a change and the end of leases cost with many registrations, part by part."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.machine import Cores
from bench.processes import BenchError
from weft.admin.agents import AgentApi
from weft.admin.audit import Audit
from weft.admin.parts import Compiled, EnrolmentSettings, Parts
from weft.admin.server import serving
from weft.agent.http import Server, ask
from weft.agent.keys import make_key
from weft.aio.cell import Cell
from weft.aio.collection import collect_seldom
from weft.ca.authority import open_authority
from weft.controlplane.faults import Faults
from weft.controlplane.ports import bind_agent_socket
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.model import Mesh
from weft.model.enrolment import RegisterRequest
from weft.model.snapshot import MeshSettings
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.settings.home import Home
from weft.sources.collector import Collector
from weft.sources.leases import Leases
from weft.sources.stored import StoredSource
from weft.sources.workloads import WorkloadsSource, put_workload, workload_key
from weft.store.protocol import Store
from weft.store.sqlite import open_sqlite

COUNTS = (10_000, 50_000)
CONNECTED = 1_000
"""Proxies that hold their registrations; the leases of the others are long ones."""
_BATCH = 1_000
_FAR = 86_400.0


@dataclass(frozen=True, slots=True)
class _Rig:
    """A control plane without xDS, builds and admin API: what registrations touch."""

    store: Store
    collector: Collector
    leases: Leases
    server: Server


def measure_leases(directory: Path, _cores: Cores, *, quick: bool) -> dict[str, object]:
    """One group of figures per count."""
    collect_seldom()
    counts = COUNTS[:1] if quick else COUNTS
    return {f"{count:,} registrations": asyncio.run(_measure(directory, count, quick=quick)) for count in counts}


async def _measure(directory: Path, count: int, *, quick: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    rounds = 20 if quick else 50
    async with _running(directory / str(count), count, figures) as rig:
        figures |= await _api_figures(rig, count, rounds)
        figures |= await _change_figures(rig, count, rounds)
        figures |= await _lease_figures(rig, count, rounds)
    return figures


@contextlib.asynccontextmanager
async def _running(directory: Path, count: int, figures: dict[str, float]) -> AsyncIterator[_Rig]:
    home = Home(directory)
    home.control_plane.mkdir(parents=True, mode=0o700)
    await _fill(home.database, count)
    began = time.perf_counter()
    store = await open_sqlite(home.database)
    collector = Collector([StoredSource(store), WorkloadsSource(store)], MeshSettings())
    leases, audit = Leases(store), Audit(store)
    hub: Hub[Mesh] = Hub(MeshCompiler(), audit.told)
    enrolment = EnrolmentSettings("127.0.0.1:1", "127.0.0.1:2", "spiffe://x", 3600.0)
    parts = Parts(store, leases, open_authority(home.ca), collector, hub, audit, Cell(Compiled(0, None)), enrolment)
    tasks = [asyncio.create_task(one.run()) for one in (collector, leases, audit, Faults(store))]
    await collector.included(1)
    figures["start_until_read_ms"] = 1000 * (time.perf_counter() - began)
    for number in range(CONNECTED):
        leases.attached(_workload(number).proxy)
    async with serving(AgentApi(parts).application(local=True), bind_agent_socket(home)):
        yield _Rig(store, collector, leases, Server(path=home.agent_socket))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def _fill(path: Path, count: int) -> None:
    """Registrations as an earlier control plane left them."""
    store = await open_sqlite(path)
    end = time.time() + _FAR
    for first in range(0, count, _BATCH):
        workloads = [_workload(number) for number in range(first, min(count, first + _BATCH))]
        ends = {workload_key(one.namespace, one.name): end for one in workloads}
        await store.write([put_workload(one) for one in workloads], leases=ends)
    await store.close()


def _workload(number: int, state: WorkloadState = WorkloadState.HEALTHY) -> Workload:
    app = f"service-{number // 10}"
    inbound = SocketAddress("127.0.0.1", 20_000 + number % 10_000)
    port = WorkloadPort(8080, SocketAddress("127.0.0.1", 8080), inbound)
    labels = (("app", app), ("version", "v1"))
    return Workload(f"{app}-{number % 10}", f"ns-{number % 50}", app, labels, (port,), inbound, state=state)


async def _api_figures(rig: _Rig, count: int, rounds: int) -> dict[str, float]:
    """Through the agent API on the unix socket, the client's share and the hold-off included."""
    csr = make_key().csr

    async def register(number: int) -> None:
        await _call(rig, "/v1/workloads", RegisterRequest(_workload(count + number), csr))

    async def many() -> None:
        await asyncio.gather(*(register(rounds + number) for number in range(4 * rounds)))

    together, _ = await _timed(lambda _: many(), 1)
    registration, _ = await _timed(register, rounds)
    return {
        "registration_ms": registration,
        "registration_of_many_at_once_ms_each": together / (4 * rounds),
    }


async def _change_figures(rig: _Rig, count: int, rounds: int) -> dict[str, float]:
    """One workload changes its state, until the new snapshot is there; without the hold-off, the CPU time only."""

    async def change(number: int) -> None:
        workload = _workload(number * (count // rounds))
        state = WorkloadState.UNHEALTHY
        revision = await rig.store.write([put_workload(replace(workload, state=state))])
        await rig.collector.included(revision)

    wall, cpu = await _timed(change, rounds)
    return {"change_until_snapshot_ms": wall, "change_until_snapshot_cpu_ms": cpu}


async def _lease_figures(rig: _Rig, count: int, rounds: int) -> dict[str, float]:
    """A look at the leases when none has ended, the renewal of all that connected proxies hold, and the end of many."""
    keys = [workload_key(one.namespace, one.name) for one in map(_workload, range(count))]
    held, ending = keys[:CONNECTED], keys[-CONNECTED:]

    async def look(_: int) -> None:
        await rig.store.expire(0.0)

    async def hold(_: int) -> None:
        await rig.store.extend(dict.fromkeys(held, time.time() + _FAR))

    looking, _ = await _timed(look, 10 * rounds)
    holding, _ = await _timed(hold, rounds)

    async def end(number: int) -> None:
        await rig.store.extend(dict.fromkeys(ending, 1.0 + number))
        ended, _ = await rig.store.expire(1.0 + number)
        if len(ended) != CONNECTED:
            raise BenchError(f"{len(ended)} leases ended instead of {CONNECTED}")

    ending_all, _ = await _timed(end, 1)
    return {
        "look_at_leases_ms": looking,
        "hold_1000_leases_ms": holding,
        "end_of_1000_leases_ms": ending_all,
    }


async def _timed(run: Callable[[int], Awaitable[None]], rounds: int) -> tuple[float, float]:
    """Mean wall and CPU milliseconds of one round."""
    began, began_cpu = time.perf_counter(), time.process_time()
    for number in range(rounds):
        await run(number)
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return 1000 * wall / rounds, 1000 * cpu / rounds


async def _call(rig: _Rig, path: str, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await ask(rig.server, "POST", path, body=msgspec.json.encode(body), headers=headers, timeout=30)
    if answer.status != 200:
        raise BenchError(f"{path} answered {answer.status}: {answer.body[:200]!r}")
