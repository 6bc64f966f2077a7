"""A change of the mutual-TLS mode: what servers accept and what callers use, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import pytest

from support.meshdocs import backends, documents, service, workload
from weft.controlplane import changeover
from weft.controlplane.changeover import Changeover
from weft.controlplane.modes import BUCKET, Modes
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.steps import NO_STEP
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload, WorkloadState
from weft.schema.decode import decode_documents
from weft.sources.collector import Collected, Collector
from weft.store.memory import MemoryStore
from weft.store.protocol import StoreError

PEER = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: MODE}}
"""


class Steps:
    """A changeover whose steps are written down: (revision, what the server accepts, what the caller uses)."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        compiler = MeshCompiler()
        self.collector = Collector([], MeshSettings())
        self.store = store or MemoryStore()
        self.modes = Modes(self.store)
        self.changeover = Changeover(self.collector, Hub[Mesh](compiler), compiler, self.modes, self._publish)
        self.seen: list[tuple[int, str, str]] = []
        self.meanwhile: Workload | None = None

    async def _publish(self, mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        views = [build_view(mesh, one, Memo()) for one in workloads]
        first = views[0]
        assert isinstance(first, SidecarView)
        (transport,) = {type(each.transport).__name__ for each in backends(first).values()}
        self.seen.append((revision, str(first.inbound[0].mode), transport))
        if self.meanwhile is not None:
            changed, self.meanwhile = self.meanwhile, None
            self.collector.collected.set(Collected(ConfigSnapshot(9, (), (changed,)), 9))

    async def change(self, before: str, after: str) -> tuple[Workload, ...]:
        old, new = (documents(service("web", 80) + PEER.replace("MODE", mode)) for mode in (before, after))
        snapshot = ConfigSnapshot(8, new, (workload("web", port=80),))
        self.collector.collected.set(Collected(snapshot, 8))
        return await self.changeover.run(old, snapshot, 7)


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        ("STRICT", "DISABLE", [(7, "permissive", "MutualTls"), (7, "permissive", "Plaintext")]),
        ("DISABLE", "STRICT", [(7, "permissive", "Plaintext"), (7, "permissive", "MutualTls")]),
        ("PERMISSIVE", "DISABLE", [(7, "permissive", "MutualTls"), (7, "permissive", "Plaintext")]),
        ("STRICT", "STRICT", []),
    ],
)
async def test_callers_change_while_both_are_accepted(
    before: str, after: str, steps: list[tuple[int, str, str]]
) -> None:
    rig = Steps()
    await rig.change(before, after)
    assert rig.seen == steps


class Turning(Steps):
    """A changeover of what a port carries: (revision, what the server accepts, what the port's own cluster speaks)."""

    async def _publish(self, mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        view = build_view(mesh, workloads[0], Memo())
        assert isinstance(view, SidecarView)
        (own,) = backends(view).values()
        self.seen.append((revision, str(view.inbound[0].protocol), str(own.protocol)))
        self.meshes.append(mesh)

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store)
        self.meshes: list[Mesh] = []

    async def turn(self, before: str, after: str) -> tuple[Workload, ...]:
        old, new = documents(carrying(before)), documents(carrying(after))
        snapshot = ConfigSnapshot(8, new, (workload("web", port=80),))
        self.collector.collected.set(Collected(snapshot, 8))
        return await self.changeover.run(old, snapshot, 7)


def carrying(word: str) -> str:
    """A Service whose port speaks this."""
    return service("web", 80).replace("http-80", f"{word}-80")


TO_TCP = [(7, "auto", "http"), (7, "auto", "http"), (7, "auto", "tcp")]
TO_HTTP = [(7, "auto", "tcp"), (7, "auto", "http"), (7, "auto", "http")]


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [("http", "tcp", TO_TCP), ("tcp", "http", TO_HTTP), ("http", "grpc", []), ("tcp", "mysql", [])],
)
async def test_what_a_port_carries_changes_while_both_are_accepted(
    before: str, after: str, steps: list[tuple[int, str, str]]
) -> None:
    rig = Turning()
    await rig.turn(before, after)
    assert rig.seen == steps
    assert not rig.modes.turning
    assert not await rig.store.list(BUCKET) or not (await rig.store.list(BUCKET))[1]


async def test_a_port_and_the_mode_change_together() -> None:
    rig = Turning()
    old = documents(carrying("http") + PEER.replace("MODE", "STRICT"))
    new = documents(carrying("tcp") + PEER.replace("MODE", "DISABLE"))
    snapshot = ConfigSnapshot(8, new, (workload("web", port=80),))
    rig.collector.collected.set(Collected(snapshot, 8))
    await rig.changeover.run(old, snapshot, 7)
    assert rig.seen == TO_TCP
    transports = [type(target.backend.transport).__name__ for mesh in rig.meshes for target in mesh.targets.all]
    assert transports == ["MutualTls", "Plaintext", "Plaintext"]
    assert all(mesh.overlap is not None for mesh in rig.meshes)


async def test_a_server_that_never_confirms_does_not_hold_a_port_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Turning()
    monkeypatch.setattr(changeover, "STEP_SECONDS", 0.05)

    async def never(_hub: Hub[Mesh], timeout: float) -> bool:
        await asyncio.sleep(timeout)
        return False

    monkeypatch.setattr(Hub, "settled", never)
    async with asyncio.timeout(60):
        await rig.turn("http", "tcp")
    assert [step for step, _ in groupby(rig.seen)] == [step for step, _ in groupby(TO_TCP)]


@pytest.mark.parametrize(("killed_at", "steps"), [(1, TO_TCP), (2, TO_TCP[1:]), (3, TO_TCP[1:]), (4, [])])
async def test_another_control_plane_goes_on_turning(
    killed_at: int, steps: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the first, second or third step, or when the last is to be told."""
    rig = Turning()
    publish = rig.changeover._publish

    async def killed(mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        await publish(mesh, workloads, revision)
        if len(rig.seen) == killed_at:
            raise KilledError

    monkeypatch.setattr(rig.changeover, "_publish", killed)
    if killed_at < 4:
        with pytest.raises(KilledError):
            await rig.turn("http", "tcp")
    else:
        await rig.turn("http", "tcp")
    again = Turning(rig.store)
    await again.modes.load()
    snapshot = ConfigSnapshot(8, documents(carrying("tcp")), (workload("web", port=80),))
    again.collector.collected.set(Collected(snapshot, 8))
    await again.changeover.run(again.modes.before(snapshot.documents), snapshot, 7)
    assert again.seen == steps
    assert not again.modes.turning
    assert again.modes.before(snapshot.documents) == snapshot.documents


async def test_a_service_that_was_deleted_while_nobody_ran_does_not_come_back() -> None:
    rig = Turning()
    turning = documents(carrying("http"))
    await rig.modes.keep(turning, turning=turning)
    again = Modes(rig.store)
    await again.load()
    assert again.turning
    assert again.before(others := documents(service("other", 80))) == others


async def test_requests_of_the_time_before_are_carried_until_another_turn_or_the_end() -> None:
    rig = Turning()
    assert rig.changeover.lingers() is None
    await rig.turn("http", "tcp")
    (turning,) = rig.changeover.last.turnings.values()
    assert turning.beside is None
    left = rig.changeover.lingers()
    assert left is not None
    assert 0 < left <= changeover.LINGER_SECONDS
    await rig.turn("tcp", "http")
    assert rig.changeover.lingers() is None
    assert rig.changeover.last is NO_STEP
    await rig.turn("http", "tcp")
    rig.changeover.end()
    assert rig.changeover.lingers() is None


class Unseen(tuple[Workload, ...]):
    """Workloads at which nobody is to look."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Workload]:
        raise AssertionError("a change of other documents is not a reason to look at every workload")


async def test_other_documents_are_none_of_its_business() -> None:
    rig = Steps()
    peer = documents(PEER.replace("MODE", "DISABLE"))
    before = (*documents(service("web", 80)), *peer)
    after = (*documents(service("web", 81)), *peer, *documents(service("other", 80)))
    assert await rig.changeover.run(before, ConfigSnapshot(8, after, Unseen()), 7) == ()
    assert rig.seen == []


async def test_workloads_go_on_changing() -> None:
    rig = Steps()
    rig.meanwhile = workload("web", port=80, state=WorkloadState.DRAINING)
    (last,) = await rig.change("STRICT", "DISABLE")
    assert last.state is WorkloadState.DRAINING
    assert len(rig.seen) >= 2


async def test_proxies_that_come_and_go_while_workloads_change_do_not_hold_a_change_up_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Steps()
    monkeypatch.setattr(changeover, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(changeover, "LONGEST_SECONDS", 0.1, raising=False)
    monkeypatch.setattr(Hub, "longest_absence", lambda _hub: 1.0)  # there is always one
    publish = rig.changeover._publish

    async def changing(mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        await publish(mesh, workloads, revision)
        collected = rig.collector.collected
        asyncio.get_running_loop().call_soon(collected.set, replace(collected.value))

    async def never(_hub: Hub[Mesh], _timeout: float) -> bool:
        return await asyncio.Event().wait()

    monkeypatch.setattr(rig.changeover, "_publish", changing)
    monkeypatch.setattr(Hub, "settled", never)
    async with asyncio.timeout(60):
        await rig.change("STRICT", "DISABLE")
    assert {(accepted, used) for _, accepted, used in rig.seen} == {
        ("permissive", "MutualTls"),
        ("permissive", "Plaintext"),
    }


async def test_documents_without_a_say_in_the_mode_do_not_ask_every_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Steps()
    asked: list[object] = []
    monkeypatch.setattr(changeover, "changes_mode", lambda *arguments: asked.append(arguments))
    peer = documents(PEER.replace("MODE", "STRICT"))
    snapshot = ConfigSnapshot(8, (*documents(service("web", 80, 81)), *peer), (workload("web", port=80),))
    await rig.changeover.run((*documents(service("web", 80)), *peer), snapshot, 7)
    assert asked == []
    await rig.changeover.run((*documents(service("web", 80)),), snapshot, 7)
    assert len(asked) == 1


def text(mode: str) -> str:
    return service("web", 80) + PEER.replace("MODE", mode)


class KilledError(Exception):
    """The control plane ends here."""


@pytest.mark.parametrize(
    ("killed_at", "steps"),
    [
        (0, [(7, "permissive", "MutualTls"), (7, "permissive", "Plaintext")]),
        (1, [(7, "permissive", "MutualTls"), (7, "permissive", "Plaintext")]),
        (2, [(7, "permissive", "Plaintext")]),
        (3, []),
    ],
)
async def test_another_control_plane_goes_on_where_one_was_killed(
    killed_at: int, steps: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it began, in the first step, in the second, or when the last is to be told."""
    rig = Steps()
    strict, disabled = (documents(text(mode), created=9.0) for mode in ("STRICT", "DISABLE"))
    await rig.modes.keep(strict)
    publish = rig.changeover._publish

    async def killed(mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        await publish(mesh, workloads, revision)
        if len(rig.seen) == killed_at:
            raise KilledError

    monkeypatch.setattr(rig.changeover, "_publish", killed)
    snapshot = ConfigSnapshot(8, disabled, (workload("web", port=80),))
    rig.collector.collected.set(Collected(snapshot, 8))
    if killed_at in (1, 2):
        with pytest.raises(KilledError):
            await rig.changeover.run(strict, snapshot, 7)
    elif killed_at == 3:
        await rig.changeover.run(strict, snapshot, 7)
    again = Steps(rig.store)
    await again.modes.load()
    again.collector.collected.set(Collected(snapshot, 8))
    await again.changeover.run(again.modes.before(disabled), snapshot, 7)
    assert again.seen == steps
    last = Modes(rig.store)
    await last.load()
    assert not last.halfway
    assert [(one.key, one.text, one.created) for one in last.before(())] == [
        (one.key, one.text, one.created) for one in disabled if one.key.kind == "PeerAuthentication"
    ]


async def test_the_first_mode_of_a_mesh_is_a_change_too() -> None:
    rig = Steps()
    disabled = documents(text("DISABLE"))
    snapshot = ConfigSnapshot(8, disabled, (workload("web", port=80),))
    rig.collector.collected.set(Collected(snapshot, 8))
    await rig.modes.load()
    await rig.changeover.run(rig.modes.before(disabled), snapshot, 0)
    assert rig.seen == [(0, "permissive", "MutualTls"), (0, "permissive", "Plaintext")]


async def test_what_cannot_be_understood_is_kept_as_such() -> None:
    rig = Steps()
    bad = decode_documents(text("OPEN"), "mesh.yaml").documents
    await rig.modes.keep(bad)
    again = Modes(rig.store)
    await again.load()
    (kept,) = again.before(())
    assert isinstance(kept.spec, Unreadable)


async def test_a_store_that_cannot_be_written_stops_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Steps()

    async def fail(*_: object) -> int:
        raise StoreError("disk full")

    monkeypatch.setattr(rig.store, "write", fail)
    await rig.change("STRICT", "DISABLE")
    assert len(rig.seen) == 2


async def test_halfway_that_a_slower_replica_wrote_last_is_over_when_nothing_is_to_change() -> None:
    rig = Steps()
    await rig.modes.keep((), halfway=True)
    again = Steps(rig.store)
    await again.modes.load()
    plain = documents(service("web", 80))
    await again.changeover.run(again.modes.before(plain), ConfigSnapshot(8, plain, ()), 7)
    last = Modes(rig.store)
    await last.load()
    assert (again.modes.halfway, last.halfway) == (False, False)
    await again.change("DISABLE", "STRICT")
    assert again.seen == [(7, "permissive", "Plaintext"), (7, "permissive", "MutualTls")], "every step of the next"
