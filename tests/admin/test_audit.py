"""The audit under a flood, and without a store."""

import pytest

from weft.admin import audit as audit_module
from weft.admin.audit import Audit
from weft.store.memory import MemoryStore
from weft.store.protocol import StoreError


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
    assert len(audit.problems()) <= 100
    await audit._trim()
    events = await audit.events()
    assert [event.object for event in events if event.outcome == "done"] == ["Service default/a"]
    assert len(events) == 21


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
