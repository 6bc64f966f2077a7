"""The audit under a flood, and without a store."""

import asyncio

import pytest

from support.virtual_time import in_virtual_time
from weft.admin import audit as audit_module
from weft.admin.audit import BUCKET, Audit
from weft.store.memory import MemoryStore
from weft.store.protocol import Entry, Put, StoreError
from weft.testing.polling import eventually


async def test_a_flood_of_refusals_is_bounded_and_pushes_out_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "KEEP_EVENTS", 20)
    store = MemoryStore()
    audit = Audit(store)
    await store.write([audit.done("admin token", "create", object="Service default/a")])
    for flood in range(3):
        for number in range(1000):
            audit.refused(f"10.0.{flood}.{number}", "register", "token-refused", f"guess {number}\n\x1b[31m")
        await audit.flush()
    events = await audit.events()
    assert len(events) == 1 + 3 * 51
    assert sum("more" in event.detail for event in events) == 3
    assert next(event.detail for event in events if "more" in event.detail) == "and 950 more"
    assert not any("\n" in event.detail or "\x1b" in event.detail for event in events)
    await audit._trim()
    events = await audit.events()
    assert [event.object for event in events if event.outcome == "done"] == ["Service default/a"]
    assert len(events) == 21


async def test_workloads_that_come_and_go_push_out_nothing_that_people_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "KEEP_EVENTS", 20)
    store = MemoryStore()
    audit = Audit(store)
    await store.write([audit.done("admin token", "create", object="Service default/a")])
    for number in range(100):
        await store.write(
            [audit.workload("web.default", "register", object="workload default/web", detail=str(number))]
        )
    await audit._trim()
    events = await audit.events()
    assert [event.detail for event in events] == [*(str(number) for number in range(99, 79, -1)), ""]
    assert events[-1].object == "Service default/a"


async def test_refusals_wait_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    audit = Audit(store)
    audit.refused("x", "register", "token-refused", "no")

    async def fail(*_: object, **__: object) -> int:
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", fail)
        with pytest.raises(StoreError):
            await audit.flush()
    assert [event.who for event in await audit.events()] == ["x"]


@in_virtual_time
async def test_at_rest_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest events are looked for at the start and after many new ones, not all the time."""

    class Counting(MemoryStore):
        lists = 0

        async def list(self, bucket: str) -> tuple[int, tuple[Entry, ...]]:
            self.lists += 1
            return await super().list(bucket)

    monkeypatch.setattr(audit_module, "KEEP_EVENTS", 20)
    store = Counting()
    audit = Audit(store)
    running = asyncio.create_task(audit.run())
    await eventually("looked once", lambda: store.lists == 3)
    for number in range(150):
        await store.write([audit.done("admin token", "create", object=str(number))])
    await eventually("looked again", lambda: store.lists == 6)
    await eventually("forgot the oldest", lambda: store._revision.value == 151)
    assert len(await audit.events()) < 150
    lists = store.lists
    await asyncio.sleep(100 * audit_module._FLUSH_SECONDS)
    assert store.lists == lists
    running.cancel()


async def test_what_cannot_be_read_takes_nothing_else_with_it() -> None:
    store = MemoryStore()
    audit = Audit(store)
    await store.write([audit.done("admin token", "apply", object="a"), Put(BUCKET, "0", b"{}"), Put(BUCKET, "9", b"")])
    assert [event.object for event in await audit.events()] == ["a"]
