"""The task of root rotation: whom it waits for, and when it does not move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.joining_pods import ToldPods
from weft.admin.heard import Heard
from weft.ca.authority import Authority, open_authority
from weft.ca.protocol import AuthorityError
from weft.ca.rotation import PATIENCE, Phase
from weft.controlplane.trust import TrustKeeper
from weft.model.snapshot import MeshSettings
from weft.model.workload import Workload
from weft.sources.collector import Collector
from weft.sources.leases import Leases
from weft.sources.workloads import put_workload, workloads_source
from weft.store.memory import MemoryStore
from weft.testing import eventually

NOW = 1_800_000_000.0


class World:
    """A keeper over real parts, with a clock of its own; it looks whenever `look` says so."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.store, self.pods = MemoryStore(), ToldPods()
        self.authority: Authority = open_authority(directory / "ca", clock=lambda: self.now)
        self.collector = Collector([workloads_source(self.store), self.pods], MeshSettings())
        self.heard = Heard()
        self.leases = Leases(self.store, clock=lambda: self.now)
        self.bundle = directory / "bundle.pem"
        self.renewed = 0
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        self.looked = asyncio.Event()
        self.keeper = TrustKeeper(
            self.authority,
            self.collector,
            self.heard,
            self.leases,
            self.bundle,
            self.renew,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def renew(self) -> None:
        self.renewed += 1

    async def sleep(self, _: float) -> None:
        self.looked.set()
        await self.turns.get()

    async def look(self) -> Phase:
        """Let the keeper look once more; the phase after it."""
        self.looked.clear()
        self.turns.put_nowait(None)
        await self.looked.wait()
        return self.authority.rotation.phase

    async def register(self, name: str) -> None:
        await self.store.write([put_workload(Workload(name, "default", name))])
        await eventually("known", lambda: self.collector.snapshot.workload(f"{name}.default") is not None)

    def uses(self, name: str) -> None:
        """Its agent says that it has what is wanted."""
        wanted = self.authority.wanted
        self.heard.note(f"default/{name}", self.now, "1", self.now)
        self.heard.uses(f"default/{name}", wanted.trust, wanted.issuer or "whichever")


@pytest.fixture
def parts(tmp_path: Path) -> World:
    return World(tmp_path)


@contextlib.asynccontextmanager
async def running(world: World, *, collecting: bool = True) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(world.keeper.run())]
    if collecting:
        tasks.append(asyncio.create_task(world.collector.run()))
        await eventually("collected", lambda: world.collector.snapshot.revision > 0)
    await world.looked.wait()
    try:
        yield
    finally:
        for task in tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_each_step_waits_for_everybody_and_names_who_is_awaited(parts: World) -> None:
    async with running(parts):
        for name in ("a", "b"):
            await parts.register(name)
            parts.uses(name)
        assert await parts.look() is Phase.STEADY
        assert parts.keeper.awaited() == {}
        parts.authority.begin_rotation()
        assert await parts.look() is Phase.TRUSTING
        assert parts.bundle.read_text() == parts.authority.bundle
        assert set(parts.keeper.awaited()) == {"default/a", "default/b"}
        parts.uses("a")
        assert await parts.look() is Phase.TRUSTING
        assert parts.keeper.awaited() == {"default/b": "it has the former trust bundle"}
        parts.uses("b")
        assert await parts.look() is Phase.ISSUING
        assert set(parts.keeper.awaited().values()) == {"its certificate is the former root's"}
        parts.uses("a")
        parts.uses("b")
        renewed = parts.renewed
        assert await parts.look() is Phase.DROPPING
        assert parts.renewed > renewed
        parts.uses("a")
        await parts.register("c")
        parts.uses("b")
        assert await parts.look() is Phase.DROPPING
        assert parts.keeper.awaited() == {"default/c": "not heard since the control plane started"}
        parts.uses("c")
        assert await parts.look() is Phase.STEADY
        assert parts.keeper.problems() == ()
        await eventually("the epoch", lambda: parts.collector.snapshot.settings.trust_epoch == 1)


async def test_it_does_not_move_before_it_knows_who_is_registered(parts: World) -> None:
    parts.authority.begin_rotation()
    async with running(parts, collecting=False):
        for _ in range(3):
            assert await parts.look() is Phase.TRUSTING


async def test_a_workload_that_has_left_is_not_awaited_and_a_silent_one_is_told_of(parts: World) -> None:
    async with running(parts):
        await parts.register("a")
        parts.authority.begin_rotation()
        assert await parts.look() is Phase.TRUSTING
        assert parts.keeper.problems() == ()
        parts.now += 700
        [problem] = parts.keeper.problems()
        assert problem.code == "root-rotation-waits"
        assert "default/a" in problem.message
        parts.now = NOW + PATIENCE - 1
        assert await parts.look() is Phase.TRUSTING
        parts.now = NOW + PATIENCE
        assert await parts.look() is Phase.ISSUING


async def test_a_pod_is_awaited_while_its_proxy_is_there(parts: World) -> None:
    """One whose proxy never joined has nothing to replace, and no lease that would end."""
    async with running(parts):
        parts.pods.tell(Workload("a", "default", "a", pod="5f0d"), Workload("b", "default", "b", pod="5f0e"))
        await eventually("known", lambda: len(parts.collector.snapshot.workloads) == 2)
        parts.authority.begin_rotation()
        assert set(parts.keeper.awaited()) == {"default/a", "default/b"}, "they may be about to connect again"
        parts.leases.attached("a.default", leased=False)
        parts.now += 16
        assert set(parts.keeper.awaited()) == {"default/a"}
        assert await parts.look() is Phase.TRUSTING
        parts.uses("a")
        assert await parts.look() is Phase.ISSUING


async def test_a_root_near_its_end_is_rotated_without_being_asked(parts: World) -> None:
    [root] = parts.authority.roots
    life = root.not_valid_after_utc - root.not_valid_before_utc
    async with running(parts):
        parts.now = NOW + 0.79 * life.total_seconds()
        assert await parts.look() is Phase.STEADY
        parts.now = NOW + 0.81 * life.total_seconds()
        assert await parts.look() is Phase.ISSUING, "nobody is registered"
        assert parts.authority.rotation.overlap == PATIENCE


async def test_a_full_disk_stops_nothing(parts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(parts):
        parts.authority.begin_rotation()

        def full(*_: object) -> None:
            raise OSError(28, "no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("weft.settings.private.os.open", full)
            assert await parts.look() is Phase.TRUSTING
            assert await parts.look() is Phase.TRUSTING
        assert await parts.look() is Phase.STEADY, "nobody is registered"


async def test_an_authority_that_cannot_be_opened_stops_nothing(parts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has put something else into the Secret, from which changes are made."""
    async with running(parts):
        parts.authority.begin_rotation()

        async def damaged(_: object) -> None:
            raise AuthorityError("root.pem: no certificate")

        with monkeypatch.context() as patch:
            patch.setattr(parts.authority, "change", damaged)
            assert await parts.look() is Phase.TRUSTING
            assert await parts.look() is Phase.TRUSTING
        assert await parts.look() is Phase.STEADY, "nobody is registered"
