"""Trials: what is tried of documents that reach into proxies, and what no document can do to who tries it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from support.meshdocs import documents, service, workload
from weft.aio.cell import Cell
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import MOST_KINDS, Trial
from weft.model.workload import Workload
from weft.sources.collector import Collected
from weft.sources.trials import TrialSource
from weft.store.memory import MemoryStore
from weft.testing.polling import eventually

FILTER = """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}}}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch: {{operation: MERGE, value: {value}}}
"""
GOOD = ("good", "{connect_timeout: 9s}")


class Judge:
    """Takes everything but what it is `against`, unless it cannot be asked."""

    version = "1.40.0"
    stand_in = ("chain", "key")

    def __init__(self, against: str = "no such words") -> None:
        self.fault: OSError | None = None
        self.against = against
        self.asked = 0

    async def refusal(self, bootstrap: str) -> str:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return "not this" if self.against in bootstrap else ""


def collected(revision: int, *values: tuple[str, str], workloads: tuple[Workload, ...] = ()) -> Collected:
    text = service("web") + "".join(FILTER.format(name=name, value=value) for name, value in values)
    return Collected(ConfigSnapshot(revision, documents(text), workloads or (workload("web"),)), revision)


async def tried(source: TrialSource, so: Callable[[tuple[Trial, ...]], bool], change: Callable[[], None]) -> None:
    """Run it until its trials are `so`, after a `change`. What ends it is raised."""
    task = asyncio.create_task(source.run())

    async def found() -> bool:
        if task.done():
            task.result()
        return so(source.contents.value.trials if source.contents.value else ())

    try:
        change()
        await eventually("it is tried", found, deadline=20)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "value",
    [
        "{typed_extension_protocol_options: {a: {'@type': 5}}}",
        "{lb_policy: .inf}",
        "{metadata: {filter_metadata: {a: {b: .nan}}}}",
    ],
)
async def test_no_value_ends_who_tries_it(value: str) -> None:
    cell, judge = Cell(collected(0)), Judge()
    source = TrialSource(MemoryStore(), lambda: cell, judge)
    both = collected(1, ("bad", value), GOOD)
    await tried(source, lambda found: len(found) == 2, lambda: cell.set(both))
    assert source.contents.value is not None
    bad, good = source.contents.value.trials
    assert (bad.key.name, bool(bad.refusal)) == ("bad", True)
    assert (good.key.name, good.refusal) == ("good", "")


async def test_a_judge_who_cannot_be_asked_says_nothing_of_a_document() -> None:
    cell, judge = Cell(collected(0)), Judge()
    judge.fault = OSError("no space left on device")
    source = TrialSource(MemoryStore(), lambda: cell, judge)
    await tried(source, lambda _: judge.asked == 1, lambda: cell.set(collected(1, GOOD)))
    assert source.contents.value is not None
    assert source.contents.value.trials == ()
    judge.fault = None
    await tried(source, bool, lambda: cell.set(collected(2, GOOD)))
    found: tuple[Trial, ...] = source.contents.value.trials
    assert [one.refusal for one in found] == [""]


BAD = ("good", "{connect_timeout: 77s}")
OTHER = ("good", "{connect_timeout: 8s}")


class World:
    """One store and judge, and mesh after mesh with what is tried of the documents in it."""

    def __init__(self) -> None:
        self.cell, self.judge, self.store = Cell(collected(0)), Judge('"77s"'), MemoryStore()
        self.source = self.restarted()

    def restarted(self) -> TrialSource:
        self.source = TrialSource(self.store, lambda: self.cell, self.judge)
        return self.source

    async def given(
        self, *values: tuple[str, str], so: Callable[[tuple[Trial, ...]], bool], workloads: tuple[Workload, ...] = ()
    ) -> None:
        now = collected(self.cell.value.snapshot.revision + 1, *values, workloads=workloads)
        await tried(self.source, so, lambda: self.cell.set(now))

    def timeouts(self, of: Workload | None = None) -> list[str]:
        """What the patches in force say, for a workload."""
        return [patch.value for patch in self.mesh().filters.of(Memo(), of or workload("web")).all]

    def mesh(self) -> Mesh:
        contents = self.source.contents.value
        trials = contents.trials if contents is not None else ()
        return build_mesh(replace(self.cell.value.snapshot, trials=trials), Memo())

    def codes(self) -> list[str]:
        return [problem.code for problem in self.mesh().filters.problems]


def refused(found: tuple[Trial, ...]) -> bool:
    return any(one.refusal for one in found)


def in_force(value: tuple[str, str]) -> list[str]:
    return ['{"connect_timeout": "' + value[1].split()[1].rstrip("}") + '"}']


async def test_a_text_that_is_refused_or_waits_leaves_the_last_good_one_in_force() -> None:
    world = World()
    await world.given(GOOD, so=bool)
    assert world.timeouts() == in_force(GOOD)
    await world.given(BAD, so=refused)
    assert (world.timeouts(), world.codes()) == (in_force(GOOD), ["patch-refused"])
    assert "the last text that it took stays in force" in world.mesh().filters.problems[0].message
    world.restarted()
    await world.given(BAD, so=refused)
    assert world.timeouts() == in_force(GOOD), "after a restart"
    world.cell.set(collected(9, OTHER))
    assert (world.timeouts(), world.codes()) == (in_force(GOOD), ["patch-not-tried"])
    await world.given(OTHER, so=lambda found: bool(found) and not refused(found))
    assert (world.timeouts(), world.codes()) == (in_force(OTHER), [])


async def test_the_good_text_comes_back_without_another_trial() -> None:
    world = World()
    await world.given(GOOD, so=bool)
    await world.given(BAD, so=refused)
    asked = world.judge.asked
    world.cell.set(collected(8, GOOD))
    assert (world.timeouts(), world.codes()) == (in_force(GOOD), [])
    await world.given(GOOD, so=lambda found: bool(found) and not refused(found))
    assert world.judge.asked == asked


async def test_a_document_that_is_deleted_is_gone_at_once() -> None:
    world = World()
    await world.given(GOOD, so=bool)
    world.cell.set(collected(7))
    assert world.timeouts() == [], "before anybody has looked at it"
    again = documents(FILTER.format(name=BAD[0], value=BAD[1]), created=5.0)
    world.cell.set(Collected(replace(world.cell.value.snapshot, documents=again), 8))
    assert world.timeouts() == [], "another document of that name"
    await world.given(so=lambda found: not found)
    assert (await world.store.list("trials"))[1] == ()


async def test_another_envoy_is_asked_anew_and_what_was_in_force_stays_until_then() -> None:
    world = World()
    await world.given(GOOD, so=bool)
    await world.given(BAD, so=refused)
    world.judge.version = "1.41.0"
    world.restarted()
    asked = world.judge.asked
    await world.given(BAD, so=refused)
    assert world.timeouts() == in_force(GOOD)
    assert world.judge.asked == asked + 2, "the new text, and the one before it"
    world.judge.version, world.judge.against = "1.42.0", "connect_timeout"
    world.restarted()
    await world.given(BAD, so=refused)
    assert world.timeouts() == [], "this Envoy takes neither"


ONE_PORT = """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: port}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {connect_timeout: 9s}}
  - applyTo: LISTENER
    match: {context: SIDECAR_INBOUND, listener: {portNumber: 7777}}
    patch: {operation: MERGE, value: {stat_prefix: VALUE}}
"""


def with_port(revision: int, value: str, *more: Workload) -> Collected:
    text = service("web") + ONE_PORT.replace("VALUE", value)
    return Collected(ConfigSnapshot(revision, documents(text), (workload("web"), *more)), revision)


@pytest.mark.parametrize(("value", "given"), [("fine", 2), ("77s", 0)])
async def test_a_kind_of_proxies_that_comes_later_is_tried_and_has_no_unknown_patch_before(
    value: str, given: int
) -> None:
    world, late = World(), workload("web", "v2", port=7777, number=1)
    await tried(world.source, bool, lambda: world.cell.set(with_port(1, value)))
    assert world.codes() == ["patch-matches-nothing"]
    assert len(world.timeouts()) == 2
    world.cell.set(with_port(2, value, late))
    assert len(world.timeouts(late)) == 1, "what was tried is there at once, and what was idle waits"

    def known(found: tuple[Trial, ...]) -> bool:
        return any(one.taken is not None and len(one.taken.kinds) == 2 for one in found)

    await tried(world.source, known, lambda: world.cell.set(with_port(3, value, late)))
    assert len(world.timeouts(late)) == given
    assert len(world.timeouts()) == 2, "others keep it"
    assert world.codes() == ([] if given else ["patch-matches-nothing", "patch-refused"])
    asked = world.judge.asked
    world.restarted()
    await tried(world.source, known, lambda: world.cell.set(with_port(4, value, late)))
    assert (len(world.timeouts(late)), world.judge.asked) == (given, asked)


async def test_a_document_is_tried_on_so_many_kinds_and_no_more() -> None:
    world = World()
    many = tuple(workload("web", f"v{number}", number=number) for number in range(MOST_KINDS + 3))
    await world.given(GOOD, so=bool, workloads=many)
    assert world.judge.asked == MOST_KINDS
    assert world.timeouts(many[-1]) == in_force(GOOD)
    await world.given(GOOD, so=bool, workloads=(*many, workload("web", "w", number=40)))
    assert world.judge.asked == MOST_KINDS
