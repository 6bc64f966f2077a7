"""Collector, stored documents and registrations on a memory store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.virtual_time import in_virtual_time
from weft.aio.cell import Cell
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.unreadable import Unreadable
from weft.model.workload import GatewayBinding, Workload, WorkloadState
from weft.schema.decode import decode_documents
from weft.sources.collector import Collector
from weft.sources.contents import Contents
from weft.sources.files import FilesSource
from weft.sources.leases import Leases
from weft.sources.stored import BUCKET, StoredSource, document_from_entry, put_document, stored_key
from weft.sources.workloads import put_workload, workloads_source
from weft.store.memory import MemoryStore
from weft.store.protocol import Delete, Entry, Put, StoreError

ROUTE = """\
# a comment
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  ports:
  - port: PORT
"""


def service(name: str, port: int = 80, source: str = "routes.yaml") -> Document[object]:
    decoded = decode_documents(ROUTE.replace("NAME", name).replace("PORT", str(port)), source)
    assert decoded.problems == ()
    return decoded.documents[0]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def collector(store: MemoryStore, tmp_path: Path) -> AsyncIterator[Collector]:
    files = FilesSource([tmp_path], poll=0.02)
    collector = Collector([files, StoredSource(store), workloads_source(store)], MeshSettings())
    running = asyncio.create_task(collector.run())
    yield collector
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def included(collector: Collector, revision: int) -> int:
    async with asyncio.timeout(60):
        return await collector.included(revision)


@in_virtual_time
async def test_nothing_is_published_before_every_source_was_read(store: MemoryStore) -> None:
    class Slow:
        contents: Cell[Contents | None] = Cell(None)

        async def run(self) -> None:
            await asyncio.Event().wait()

    await store.write([put_document(service("a"), 1)])
    slow = Slow()
    collector = Collector([slow, StoredSource(store)], MeshSettings())
    running = asyncio.create_task(collector.run())
    await asyncio.sleep(60)
    assert collector.snapshot.revision == 0
    slow.contents.set(Contents())
    await included(collector, 1)
    assert [document.key.name for document in collector.snapshot.documents] == ["a"]
    running.cancel()


@in_virtual_time
async def test_a_snapshot_that_is_not_admitted_waits(store: MemoryStore) -> None:
    """A source that reads what documents refer to says when; until then what was in force stays."""

    class Reading:
        def __init__(self) -> None:
            self.contents: Cell[Contents | None] = Cell(Contents())
            self.asked: list[list[str]] = []
            self.ready = True

        def admits(self, snapshot: ConfigSnapshot) -> bool:
            self.asked.append([document.key.name for document in snapshot.documents])
            return self.ready

        async def run(self) -> None:
            await asyncio.Event().wait()

    reading = Reading()
    collector = Collector([StoredSource(store), reading], MeshSettings(), admits=reading.admits)
    running = asyncio.create_task(collector.run())
    await included(collector, await store.write([put_document(service("a"), 1)]))
    reading.ready = False
    revision = await store.write([put_document(service("b"), 1)])
    await asyncio.sleep(60)
    assert reading.asked[-1] == ["a", "b"]
    assert [document.key.name for document in collector.snapshot.documents] == ["a"]
    reading.ready = True
    reading.contents.set(Contents((service("c"),), yields=True))
    await included(collector, revision)
    assert [document.key.name for document in collector.snapshot.documents] == ["a", "b", "c"]
    running.cancel()


async def test_a_stored_document_comes_back_with_its_lines(collector: Collector, store: MemoryStore) -> None:
    original = service("a")
    revision = await store.write([put_document(original, 3)])
    await included(collector, revision)
    (document,) = collector.snapshot.documents
    assert document.text == original.text
    assert str(document.origin) == "routes.yaml:2"
    assert str(document.at("spec", "ports", 0)) == "routes.yaml:7"
    assert (document.created, document.generation) == (1000.0, 3)


async def test_included_follows_writes_that_change_nothing_here(collector: Collector, store: MemoryStore) -> None:
    first = await included(collector, await store.write([put_document(service("a"), 1)]))
    (before,) = collector.snapshot.documents
    again = await included(collector, await store.write([Put("audit", "x", b"")]))
    assert again == first, "the snapshot is the same"
    later = await included(collector, await store.write([put_document(service("b"), 1)]))
    assert later > first
    assert collector.snapshot.documents[0] is before
    gone = await included(collector, await store.write([Delete("documents", stored_key(before.key))]))
    assert gone > later
    assert [document.key.name for document in collector.snapshot.documents] == ["b"]


async def test_a_burst_of_writes_makes_few_snapshots(collector: Collector, store: MemoryStore) -> None:
    await included(collector, 0)
    before = collector.snapshot.revision
    revision = 0
    for number in range(50):
        revision = await store.write([put_document(service(f"s{number}"), 1)])
    await included(collector, revision)
    assert len(collector.snapshot.documents) == 50
    assert collector.snapshot.revision - before <= 5


async def test_a_file_wins_over_the_store_and_the_problem_names_it(
    collector: Collector, store: MemoryStore, tmp_path: Path
) -> None:
    (tmp_path / "mesh.yaml").write_text(ROUTE.replace("NAME", "a").replace("PORT", "81"))
    await included(collector, await store.write([put_document(service("a", 80), 1)]))
    async with asyncio.timeout(60):
        while not collector.snapshot.problems:
            await collector.collected.changed(collector.collected.version)
    (document,) = collector.snapshot.documents
    assert '"port":81' in document.text
    (problem,) = collector.snapshot.problems
    assert problem.code == "duplicate-document"
    assert "mesh.yaml:2" in problem.message
    assert str(problem.origin) == "routes.yaml:2"


async def test_registrations_keep_their_identity(collector: Collector, store: MemoryStore) -> None:
    a, b = Workload("a", "default", "x"), Workload("b", "default", "x")
    await included(collector, await store.write([put_workload(a), put_workload(b)]))
    first = collector.snapshot.workloads
    assert first == (a, b)
    healthy = Workload("b", "default", "x", state=WorkloadState.HEALTHY)
    await included(collector, await store.write([put_workload(healthy)]))
    assert collector.snapshot.workloads[0] is first[0]
    assert collector.snapshot.workloads[1] == healthy


async def test_damaged_entries_are_problems(collector: Collector, store: MemoryStore) -> None:
    changes = [Put("documents", "/Service/default/x", b"{"), Put("workloads", "default/x", b"[]")]
    await included(collector, await store.write(changes))
    assert {problem.code for problem in collector.snapshot.problems} == {
        "stored-document-damaged",
        "registration-damaged",
    }


async def test_a_store_that_is_gone_leaves_everything_in_force(clock: Clock) -> None:
    class Broken(MemoryStore):
        broken = asyncio.Event()

        async def changes(self, after: int, timeout: float) -> tuple[int, tuple[tuple[str, str], ...]]:
            await self.broken.wait()
            raise StoreError("disk on fire")

    store = Broken(clock)
    await store.write([put_document(service("a"), 1)])
    source = StoredSource(store)
    running = asyncio.create_task(source.run())
    async with asyncio.timeout(60):
        version = await source.contents.changed(0)
        store.broken.set()
        await source.contents.changed(version)
    running.cancel()
    contents = source.contents.value
    assert contents is not None
    assert [document.key.name for document in contents.documents] == ["a"]
    assert contents.problems[0].code == "store-unavailable"
    assert "disk on fire" in contents.problems[0].message


async def test_entries_of_the_store_decode_alone() -> None:
    store = MemoryStore()
    await store.write([put_document(service("a", source="dir/ä.yaml"), 1)])
    _, (entry,) = await store.list("documents")
    document, problems = document_from_entry(entry)
    assert problems == ()
    assert document is not None
    assert document.origin.source == "dir/ä.yaml"


async def test_what_did_not_change_is_the_same_object(collector: Collector, store: MemoryStore, tmp_path: Path) -> None:
    """A change of a workload looks at no document, and the other way round, also where files are merged."""
    (tmp_path / "mesh.yaml").write_text(ROUTE.replace("NAME", "f").replace("PORT", "81"))
    workloads = [put_workload(Workload(name, "default", "x")) for name in "ab"]
    await included(collector, await store.write([put_document(service("a"), 1), *workloads]))
    async with asyncio.timeout(60):
        while len(collector.snapshot.documents) < 2:
            await collector.collected.changed(collector.collected.version)
    first = collector.snapshot
    await included(collector, await store.write([put_workload(Workload("c", "default", "x"))]))
    second = collector.snapshot
    assert second.documents is first.documents
    await included(collector, await store.write([put_document(service("b"), 1)]))
    third = collector.snapshot
    assert third.workloads is second.workloads
    assert [one.key.name for one in third.documents] == ["a", "b", "f"]
    assert third.documents[0] is first.documents[0]


async def test_a_stored_security_document_that_this_version_cannot_understand_is_there_and_told() -> None:
    spec = {"selector": {"matchLabels": {"app": "x"}}, "newer": 1}
    head = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "a"}}
    text = json.dumps(head | {"spec": spec})
    value = json.dumps({"text": text, "source": "peers.yaml", "lines": [[[], 7]]}).encode()
    key = "security.istio.io/PeerAuthentication/default/a"
    document, problems = document_from_entry(Entry(BUCKET, key, value, 1, 0))
    assert document is not None
    assert document.spec == Unreadable("PeerAuthentication", (("app", "x"),))
    assert str(document.origin) == "peers.yaml:7"
    assert [problem.code for problem in problems] == ["unknown-field"]


async def test_renewals_and_the_same_again_make_no_revision(collector: Collector, store: MemoryStore) -> None:
    leases = Leases(store)
    changes = [put_document(service("a"), 1), put_workload(Workload("w", "default", "x"))]
    revision = await included(collector, await store.write(changes, leases=leases.granted("default/w")))
    before = collector.collected.value
    for _ in range(3):
        assert await leases.renew("default/w") is not None
        assert await store.write(changes, leases=leases.granted("default/w")) == before.store_revision
    await included(collector, await store.write([Put("audit", "x", b"")]))
    assert collector.snapshot is before.snapshot
    assert collector.snapshot.revision == revision
    moved = service("a", source="elsewhere.yaml")
    await included(collector, await store.write([put_document(moved, 1)]))
    assert collector.snapshot.documents[0].origin.source == "elsewhere.yaml", "where it stands is not forgotten"


async def test_a_workload_is_found_by_its_proxy(collector: Collector, store: MemoryStore) -> None:
    names = [(namespace, name) for namespace in ("a", "a-b", "b") for name in ("x", "x-1", "y")]
    assert collector.workload("x.a") is None
    await included(collector, await store.write([put_workload(Workload(name, where, "s")) for where, name in names]))
    for where, name in names:
        found = collector.workload(f"{name}.{where}")
        assert found is not None
        assert (found.namespace, found.name) == (where, name)
    assert [collector.workload(proxy) for proxy in ("z.b", "x.c", "x", "", ".", "x.a.b")] == [None] * 6


async def test_a_document_that_says_nothing_of_pods_leaves_their_tuple_as_it_is() -> None:
    """A gateway's Pod is looked at again with each change of documents, and nothing is built again for it."""
    documents, pods = Held(), Held()
    binding = GatewayBinding("web", "0.0.0.0")
    labels = (("gateway.networking.k8s.io/gateway-class-name", "weft"),)
    pod = Workload("web-1", "shop", "web-weft", labels, gateway=binding, pod="5f0f")
    host = Workload("host", "shop", "host")
    documents.contents.set(Contents(documents=(service("a"),), workloads=(host,)))
    pods.contents.set(Contents(workloads=(pod,)))
    collector = Collector([documents, pods], MeshSettings(), quiet=0.0, longest=0.0)
    task = asyncio.create_task(collector.run())
    try:
        version = await collector.collected.changed(0)
        before = collector.snapshot
        documents.contents.set(Contents(documents=(service("a"), service("b")), workloads=(host,)))
        while len(collector.snapshot.documents) < 2:
            version = await collector.collected.changed(version)
        assert len(before.workloads) == 2
        assert collector.snapshot.workloads is before.workloads
    finally:
        task.cancel()
        await asyncio.wait([task])


class Held:
    """A source that holds what it is given."""

    def __init__(self) -> None:
        self.contents: Cell[Contents | None] = Cell(None)

    async def run(self) -> None:
        """Nothing of its own."""
