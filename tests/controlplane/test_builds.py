"""The build loop goes on whatever building or publishing trips over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from support.meshdocs import service
from support.virtual_time import in_virtual_time
from weft.admin.context import INTERNAL
from weft.aio.cell import Cell
from weft.controlplane.builds import Builds
from weft.controlplane.changeover import LINGER_SECONDS
from weft.controlplane.modes import Modes
from weft.discovery.compiler import MeshCompiler
from weft.mesh.model import Mesh
from weft.mesh.services.service import Protocol
from weft.mesh.steps import NO_STEP, Step
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.schema.decode import decode_documents
from weft.store.memory import MemoryStore


class FaultyHub:
    """A hub that fails for some revisions."""

    def __init__(self, *faults: int) -> None:
        self.faults = faults
        self.published: list[int] = []

    async def publish(self, mesh: Mesh, workloads: Mapping[str, Workload], revision: int) -> None:
        assert mesh.services.all == () and not workloads
        if revision in self.faults:
            raise ZeroDivisionError
        self.published.append(revision)


async def test_a_publication_that_fails_ends_nothing() -> None:
    collected: Cell[SimpleNamespace] = Cell(SimpleNamespace(snapshot=ConfigSnapshot(0, (), ())))
    hub = FaultyHub(1, 3)
    builds = Builds(
        cast(Any, SimpleNamespace(collected=collected)), cast(Any, hub), MeshCompiler(), Modes(MemoryStore())
    )
    running = asyncio.create_task(builds.run())
    try:
        for revision in range(1, 5):
            collected.set(SimpleNamespace(snapshot=ConfigSnapshot(revision, (), ())))
            async with asyncio.timeout(60):
                while builds.compiled.value.revision < revision:
                    await builds.compiled.changed(builds.compiled.version)
            codes = [problem.code for problem in builds.compiled.value.problems]
            assert codes == ([INTERNAL] if revision in hub.faults else [])
        assert hub.published == [2, 4]
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_waits_for_a_workload_keeps_the_time_since_when() -> None:
    gateway = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    documents = decode_documents(gateway, "mesh.yaml").documents
    others = decode_documents(gateway.replace("front", "side"), "mesh.yaml").documents
    collected: Cell[SimpleNamespace] = Cell(SimpleNamespace(snapshot=ConfigSnapshot(0, (), ())))
    now = iter(range(100, 200, 10))
    collector = cast(Any, SimpleNamespace(collected=collected))
    builds = Builds(
        collector, cast(Any, FaultyHub()), MeshCompiler(), Modes(MemoryStore()), clock=lambda: float(next(now))
    )
    running = asyncio.create_task(builds.run())
    try:
        for revision, given in enumerate((documents, (*documents, *others), others), 1):
            collected.set(SimpleNamespace(snapshot=ConfigSnapshot(revision, given, ())))
            async with asyncio.timeout(60):
                while builds.compiled.value.revision < revision:
                    await builds.compiled.changed(builds.compiled.version)
            compiled = builds.compiled.value
            found = {problem.object.name: since for problem, since in compiled.idle.items() if problem.object}
            assert found == ({"front": 100.0}, {"front": 100.0, "side": 110.0}, {"side": 110.0})[revision - 1]
        assert (len(compiled.idle_for(30, 139.0)), len(compiled.idle_for(30, 140.0))) == (0, 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class WritingHub:
    """A hub that keeps what is published, and confirms everything at once."""

    def __init__(self) -> None:
        self.published: list[tuple[int, str]] = []

    async def publish(self, mesh: Mesh, workloads: Mapping[str, Workload], revision: int) -> None:
        (port,) = mesh.catalog.frontends[0].ports
        turning = port.turning
        word = "" if turning is None else "turning" if turning.beside else "lingering"
        self.published.append((revision, f"{port.protocol} {word}".strip()))

    async def settled(self, _timeout: float) -> bool:
        return True

    def longest_absence(self) -> float:
        return 0.0


@in_virtual_time
async def test_what_lingers_of_a_port_that_turned_ends_in_time_and_is_not_told_to_people() -> None:
    texts = [service("web", 80), service("web", 80).replace("http-80", "tcp-80")]
    collected: Cell[SimpleNamespace] = Cell(SimpleNamespace(snapshot=ConfigSnapshot(0, (), ()), store_revision=0))
    hub = WritingHub()
    collector = cast(Any, SimpleNamespace(collected=collected))
    builds = Builds(collector, cast(Any, hub), MeshCompiler(), Modes(MemoryStore()))
    running = asyncio.create_task(builds.run())
    told: list[object] = []
    for revision, text in enumerate(texts, 1):
        snapshot = ConfigSnapshot(revision, decode_documents(text, "mesh.yaml").documents, ())
        collected.set(SimpleNamespace(snapshot=snapshot, store_revision=0))
        while builds.compiled.value.revision < revision:
            await builds.compiled.changed(builds.compiled.version)
        mesh = builds.compiled.value.mesh
        assert mesh is not None
        told.append(mesh.catalog.frontends[0].ports[0].turning)
    assert told == [None, None]
    assert hub.published == [
        (1, "http"),
        (1, "http turning"),
        (1, "tcp turning"),
        (1, "tcp turning"),
        (2, "tcp lingering"),
    ]
    await asyncio.sleep(LINGER_SECONDS - 1)
    assert hub.published[-1] == (2, "tcp lingering")
    await asyncio.sleep(2)
    assert hub.published[5:] == [(2, "tcp")]
    await asyncio.sleep(1000)
    assert len(hub.published) == 6
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class FaultyCompiler(MeshCompiler):
    """A compiler that fails, at one revision, when callers are to be told of a port that has turned."""

    def build(self, snapshot: ConfigSnapshot, step: Step = NO_STEP) -> Mesh:
        mesh = super().build(snapshot, step)
        (port,) = mesh.catalog.frontends[0].ports
        if snapshot.revision == 2 and step.turnings and port.protocol is Protocol.TCP:
            raise ZeroDivisionError
        return mesh


async def test_a_change_that_fails_between_two_steps_begins_anew() -> None:
    """Everybody was told again of what was before, so that a server has to accept both first."""
    http, tcp = service("web", 80), service("web", 80).replace("http-80", "tcp-80")
    collected: Cell[SimpleNamespace] = Cell(SimpleNamespace(snapshot=ConfigSnapshot(0, (), ()), store_revision=0))
    hub = WritingHub()
    collector = cast(Any, SimpleNamespace(collected=collected))
    builds = Builds(collector, cast(Any, hub), FaultyCompiler(), Modes(MemoryStore()))
    running = asyncio.create_task(builds.run())
    for revision, text in enumerate((http, tcp, tcp), 1):
        snapshot = ConfigSnapshot(revision, decode_documents(text, "mesh.yaml").documents, ())
        collected.set(SimpleNamespace(snapshot=snapshot, store_revision=0))
        async with asyncio.timeout(60):
            while builds.compiled.value.revision < revision:
                await builds.compiled.changed(builds.compiled.version)
    assert [word for _, word in hub.published] == [
        "http",
        "http turning",
        "http",
        "http turning",
        "tcp turning",
        "tcp turning",
        "tcp lingering",
    ]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_waits_for_pods_of_a_cluster_is_told() -> None:
    """But not that a Service of it has no selector: an EndpointSlice may say what is behind it."""
    text = service("web", 80) + service("db", 80).replace("selector: {app: db}", "selector: {}")
    found = decode_documents(text, "kubernetes:Service").documents
    snapshot = ConfigSnapshot(1, found, ())
    collected: Cell[SimpleNamespace] = Cell(SimpleNamespace(snapshot=ConfigSnapshot(0, (), ()), store_revision=0))
    collector = cast(Any, SimpleNamespace(collected=collected))
    builds = Builds(collector, cast(Any, WritingHub()), MeshCompiler(), Modes(MemoryStore()))
    running = asyncio.create_task(builds.run())
    collected.set(SimpleNamespace(snapshot=snapshot, store_revision=0))
    async with asyncio.timeout(60):
        while builds.compiled.value.revision < 1:
            await builds.compiled.changed(builds.compiled.version)
    compiled = builds.compiled.value
    assert [each.code for each in compiled.idle] == ["selects-nothing"]
    assert compiled.mesh is not None
    assert [each.code for each in compiled.mesh.problems] == ["no-selector"]
    assert not compiled.problems
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
