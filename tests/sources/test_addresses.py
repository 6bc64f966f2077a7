"""The source of virtual addresses: numbers are kept before they are told, and for good."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from weft.aio.cell import Cell
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.sources.addresses import BUCKET, AddressSource
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.store.memory import MemoryStore
from weft.store.protocol import Change, Put, Store, StoreError
from weft.testing.polling import eventually

SMALL = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {serviceAddresses: {ipv4: 10.9.0.0/28}}
"""


def services(*names: str) -> str:
    return "".join(
        f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        for name in names
    )


def collected(*texts: str) -> Collected:
    documents = [each for text in texts for each in decode_documents(text, "mesh.yaml").documents]
    return Collected(ConfigSnapshot(1, tuple(documents)), 1)


class Disk(MemoryStore):
    """A store that can be full."""

    full = False

    async def write(
        self,
        changes: Sequence[Change],
        expect: Mapping[tuple[str, str], int] | None = None,
        leases: Mapping[str, float] | None = None,
    ) -> int:
        if self.full:
            raise StoreError("the disk is full")
        return await super().write(changes, expect, leases)


@contextlib.asynccontextmanager
async def running(store: Store, cell: Cell[Collected]) -> AsyncIterator[AddressSource]:
    source = AddressSource(store, lambda: cell, lambda: 1000.0)
    await source.load()
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.wait([task])


def told(source: AddressSource) -> dict[str, int]:
    contents = source.contents.value
    return {} if contents is None else {each.service: each.number for each in contents.assigned}


async def test_numbers_outlast_a_restart_whatever_comes_and_goes_meanwhile() -> None:
    store, cell = MemoryStore(), Cell(collected())
    async with running(store, cell) as source:
        cell.set(collected(services("a", "b", "c")))
        await eventually("three have numbers", lambda: len(told(source)) == 3)
        first = told(source)
        cell.set(collected(services("c", "d")))
        await eventually("two have numbers", lambda: sorted(told(source)) == ["Service/default/c", "Service/default/d"])
    async with running(store, Cell(collected())) as source:
        assert source.contents.value is None or told(source)["Service/default/c"] == first["Service/default/c"]
    cell = Cell(collected())
    async with running(store, cell) as source:
        cell.set(collected(services("z", "d", "c", "b", "a")))
        await eventually("five have numbers", lambda: len(told(source)) == 5)
        assert first.items() <= told(source).items()


async def test_what_stays_is_told_as_the_same_objects() -> None:
    cell = Cell(collected())
    async with running(MemoryStore(), cell) as source:
        cell.set(collected(services("a")))
        await eventually("it has a number", lambda: told(source))
        before = source.contents.value
        cell.set(collected(services("a", "b")))
        await eventually("both have numbers", lambda: len(told(source)) == 2)
    after = source.contents.value
    assert before is not None
    assert after is not None
    assert after.assigned[0] is before.assigned[0]


async def test_no_number_is_told_that_could_not_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.sources.addresses._RETRY_SECONDS", 0.01)
    store, cell = Disk(), Cell(collected())
    async with running(store, cell) as source:
        store.full = True
        cell.set(collected(services("a")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert told(source) == {}
        store.full = False
        await eventually("it has a number", lambda: told(source))
    _, entries = await store.list(BUCKET)
    assert [entry.key for entry in entries] == ["Service/default/a"]


async def test_a_full_range_is_a_problem_of_those_without_room_and_moves_nobody() -> None:
    cell = Cell(collected())
    names = [f"s{number:02}" for number in range(16)]
    async with running(MemoryStore(), cell) as source:
        cell.set(collected(services(*names[:14]), SMALL))
        await eventually("all have numbers", lambda: len(told(source)) == 14)
        first = told(source)
        cell.set(collected(services(*names), SMALL))

        def full() -> Contents | None:
            found = source.contents.value
            return found if found is not None and found.problems else None

        contents = await eventually("it is told", full)
        assert told(source) == first
        assert contents is not None
    assert [(problem.code, str(problem.object)) for problem in contents.problems] == [
        ("no-address-left", "Service default/s14"),
        ("no-address-left", "Service default/s15"),
    ]
    assert "every address of 10.9.0.0/28" in contents.problems[0].message


async def test_what_another_version_kept_is_left_alone_and_numbers_that_collide_are_given_once() -> None:
    store = MemoryStore()
    await store.write(
        [
            Put(BUCKET, "Service/default/a", b'{"number": 7}'),
            Put(BUCKET, "Service/default/b", b'{"number": 7}'),
            Put(BUCKET, "Service/default/c", b"[]"),
        ]
    )
    cell = Cell(collected())
    async with running(store, cell) as source:
        cell.set(collected(services("a", "b", "c")))
        await eventually("all have numbers", lambda: len(told(source)) == 3)
        found = told(source)
    assert found["Service/default/a"] == 7
    assert len(set(found.values())) == 3


async def test_two_control_planes_never_give_one_number_to_two_services() -> None:
    """They see services in different orders, and each writes after what it has read."""
    store, first, second = MemoryStore(), Cell(collected(SMALL)), Cell(collected(SMALL))
    async with running(store, first) as one, running(store, second) as two:
        for turn in range(4):
            mine, others = services(f"a{turn}"), services(f"b{turn}")
            known = services(*(f"{letter}{number}" for number in range(turn) for letter in "ab"))
            first.set(collected(SMALL, known, mine))
            second.set(collected(SMALL, known, others))
            await eventually("each has a number", lambda: len(told(one)) == len(told(two)) == 2 * turn + 1)  # noqa: B023
            for cell in (first, second):
                cell.set(collected(SMALL, known, mine, others))
            await eventually("both say the same", lambda: told(one) == told(two) and len(told(one)) == 2 * turn + 2)  # noqa: B023
            assert len(set(told(one).values())) == 2 * turn + 2
