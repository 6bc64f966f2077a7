"""Changes in steps with several replicas: none of them goes on before the proxies of all have done a step."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controlplane.test_changeover import PEER
from controlplane.test_changeover import Steps as Rig
from support.meshdocs import documents
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.steps import Steps
from weft.admin.replicas.telling import Telling
from weft.mesh.model import Mesh
from weft.model.workload import Workload

CHANGE = ("STRICT", "DISABLE")


class Beside(Replicas):
    """The only other replica is what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.other = SimpleNamespace(step=None)

    @property
    def links(self) -> list[Any]:
        return [SimpleNamespace(step=lambda: self.other.step)]


class Replica(Rig):
    """One of two, whose steps are written into a journal of both."""

    def __init__(self, name: str, journal: list[str]) -> None:
        super().__init__()
        self.name, self.journal = name, journal
        self.telling = SimpleNamespace(step=None)
        self.beside = Beside()
        self.changeover.steps = Steps(self.beside, cast(Telling, self.telling))

    async def _publish(self, mesh: Mesh, workloads: tuple[Workload, ...], revision: int) -> None:
        await super()._publish(mesh, workloads, revision)
        self.journal.append(self.name)


async def told(*replicas: Replica) -> None:
    """As links do, some time after something is new."""
    while True:
        await asyncio.sleep(0.02)
        for each in replicas:
            each.beside.news.set(each.beside.news.value + 1)


async def test_no_replica_is_a_step_ahead_of_another() -> None:
    journal: list[str] = []
    first, second = Replica("a", journal), Replica("b", journal)
    first.beside.other, second.beside.other = second.telling, first.telling
    telling = asyncio.create_task(told(first, second))
    try:
        running = asyncio.create_task(first.change(*CHANGE))
        await asyncio.sleep(0.2)
        assert journal == ["a"], "the other has not begun"
        await asyncio.gather(running, second.change(*CHANGE))
        assert journal[:2] == ["a", "b"]
        assert sorted(journal[2:]) == ["a", "b"]
        assert first.telling.step == second.telling.step
    finally:
        telling.cancel()


async def test_one_that_says_nothing_is_waited_for_as_long_as_a_step_takes() -> None:
    journal: list[str] = []
    replica = Replica("a", journal)
    await replica.change(*CHANGE)
    assert {step[1:] for step in replica.seen} == {("permissive", "MutualTls"), ("permissive", "Plaintext")}


async def test_steps_of_another_change_are_none_of_this_one() -> None:
    first, second = Replica("a", []), Replica("b", [])
    await asyncio.gather(first.change(*CHANGE), second.change("PERMISSIVE", "DISABLE"))
    assert first.telling.step.taken == second.telling.step.taken
    first.beside.other = second.telling
    assert first.beside.have_taken(first.telling.step), "they led to the same documents"
    other = Replica("c", [])
    await other.change("DISABLE", "STRICT")
    first.beside.other = other.telling
    assert not first.beside.have_taken(first.telling.step)


async def test_what_is_made_and_then_deleted_is_two_changes() -> None:
    """The other has made it and has not seen yet that it is gone."""
    telling = SimpleNamespace(step=None)
    steps, beside = Steps(Beside(), cast(Telling, telling)), Beside()
    peer = documents(PEER.replace("MODE", "STRICT"))
    steps.begin(peer, ())
    steps.end()
    beside.other = SimpleNamespace(step=telling.step)
    steps.begin((), peer)
    assert not beside.have_taken(telling.step)
    steps.begin(peer, ())
    assert beside.have_taken(telling.step)


async def test_one_that_begins_halfway_is_at_the_step_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []

    async def taken(_steps: Steps, number: int, _seconds: float) -> bool:
        numbers.append(number)
        return True

    monkeypatch.setattr(Steps, "taken", taken)
    replica = Replica("a", [])
    await replica.modes.keep(documents(PEER.replace("MODE", CHANGE[0])), halfway=True)
    await replica.change(*CHANGE)
    assert numbers == [2], "they have taken the first before it began"
