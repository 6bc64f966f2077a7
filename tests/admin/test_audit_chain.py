"""The audit's chain: what is changed, removed or slipped in shows; what is merely forgotten does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from support.control import Rig
from weft.admin import audit as audit_module
from weft.admin import audit_chain as module
from weft.admin.audit import BUCKET, Audit
from weft.admin.audit_chain import AuditChain, Link, link_hash
from weft.store.memory import MemoryStore
from weft.store.protocol import ConflictError, Delete, Entry, Put, StoreError
from weft.store.sealing.sealed import SealedStore
from weft.store.sealing.wrappers import EnvironmentWrapper

LINKS = module.BUCKET


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A store, its audit, and a chain with some links."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.audit = Audit(self.store, self.clock)
        self.chain = AuditChain(self.store, self.audit, self.clock)

    async def act(self, count: int, *, links: bool = True) -> None:
        for number in range(count):
            self.clock.now += 100
            await self.store.write([self.audit.done("ci", "change", object=f"Service a/{number}")])
            if links:
                await self.chain.seal()

    async def entries(self, bucket: str = BUCKET) -> tuple[Entry, ...]:
        return (await self.store.list(bucket))[1]

    async def findings(self) -> tuple[str, ...]:
        return (await AuditChain(self.store, self.audit, self.clock).verify()).findings


@pytest.fixture
async def world() -> World:
    world = World()
    await world.act(6)
    return world


async def test_what_is_as_it_was_is_intact(world: World) -> None:
    found = await world.chain.verify()
    assert (found.findings, found.first, found.head, found.covered, found.fresh) == ((), 1, 6, 6, 0)
    await world.act(1, links=False)
    assert (await world.chain.verify()).fresh == 1
    again = AuditChain(world.store, world.audit, world.clock)
    await again.seal()
    await again.seal()
    assert (await again.verify()).head == 7, "a chain goes on after a restart, and makes no link of nothing"
    world.audit.refused("x", "register", "token-refused", "no")
    await world.audit.flush()
    await again.seal()
    assert (await again.verify()).covered == 8


async def _change(world: World) -> None:
    entry = (await world.entries())[2]
    await world.store.write([Put(BUCKET, entry.key, entry.value.replace(b"ci", b"me"))])


async def _remove(world: World) -> None:
    await world.store.write([Delete(BUCKET, (await world.entries())[2].key)])


async def _remove_oldest(world: World) -> None:
    await world.store.write([Delete(BUCKET, (await world.entries())[0].key)])


async def _slip_in(world: World) -> None:
    first, second = (await world.entries())[:2]
    other = "8" if first.key.endswith("7") else "7"  # it ends by chance
    await world.store.write([Put(BUCKET, first.key[:-1] + other, second.value)])
    await AuditChain(world.store, world.audit, world.clock).seal()


async def _remove_a_link(world: World) -> None:
    await world.store.write([Delete(LINKS, (await world.entries(LINKS))[2].key)])


async def _remove_first_links(world: World) -> None:
    links, entries = await world.entries(LINKS), await world.entries()
    await world.store.write([Delete(LINKS, links[0].key), Delete(BUCKET, entries[0].key)])


async def _change_a_link(world: World) -> None:
    entry = (await world.entries(LINKS))[2]
    await world.store.write([Put(LINKS, entry.key, entry.value.replace(b'"time":', b'"time":1'))])


async def _garble_a_link(world: World) -> None:
    await world.store.write([Put(LINKS, (await world.entries(LINKS))[2].key, b"{")])


async def _forge_all(world: World) -> None:
    """Everything from an entry on is made anew, with another key."""
    links = [msgspec.json.decode(entry.value, type=Link) for entry in await world.entries(LINKS)]
    entry = (await world.entries())[2]
    value = entry.value.replace(b"ci", b"me")
    puts = [Put(BUCKET, entry.key, value)]
    previous = links[1].hash
    for link in links[2:]:
        rows = tuple((b, k, module.digest(value) if k == entry.key else h) for b, k, h in link.entries)
        forged = msgspec.structs.replace(link, previous=previous, entries=rows)
        forged = msgspec.structs.replace(forged, hash=link_hash(b"guess", forged))
        previous = forged.hash
        puts.append(Put(LINKS, f"{link.number:012d}", msgspec.json.encode(forged)))
    await world.store.write(puts)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_change, "an entry of audit was changed"),
        (_remove, "an entry of audit was removed"),
        (_remove_oldest, "an entry of audit was removed"),
        (_slip_in, "is in no link"),
        (_remove_a_link, "links between 2 and 4 were removed"),
        (_remove_first_links, "links before 2 were removed"),
        (_change_a_link, "link 3 was changed"),
        (_garble_a_link, "link 3 was changed"),
        (_forge_all, "made by somebody without the key"),
    ],
)
async def test_tampering_shows(world: World, tamper: Callable[[World], Awaitable[None]], said: str) -> None:
    assert await world.findings() == ()
    await tamper(world)
    assert any(said in text for text in await world.findings())


async def test_what_is_forgotten_for_want_of_room_is_no_tampering(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (audit_module, module):
        monkeypatch.setattr(where, "KEEP_EVENTS", 5)
    world = World()
    await world.act(12)
    await world.audit._trim()
    found = await world.chain.verify()
    assert (found.findings, found.covered, found.forgotten) == ((), 5, 7)
    await world.act(1)
    found = await world.chain.verify()
    assert (found.findings, found.first) == ((), 8), "links of which nothing is kept are forgotten, too"


async def test_links_are_bounded_while_an_old_entry_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINKS", 10)
    world = World()
    await world.act(30)
    assert len(await world.entries(LINKS)) <= 12
    found = await world.chain.verify()
    assert (found.findings, found.covered) == ((), 30)
    await _change(world)
    await world.act(20)
    assert any("was changed" in text for text in await world.findings()), "evidence is not thrown away"


async def test_two_control_planes_make_one_chain(world: World) -> None:
    other = AuditChain(world.store, world.audit, world.clock)
    await world.act(1, links=False)
    await other.seal()
    await world.act(1, links=False)
    await other.seal()
    await world.act(1, links=False)
    with pytest.raises(ConflictError):
        await world.chain.seal()
    await world.chain.seal()
    assert (await world.chain.verify()).head == 9
    assert await world.findings() == ()


async def test_without_the_store_s_key_nothing_is_said_and_nothing_is_made() -> None:
    below = MemoryStore()
    store = SealedStore(below, EnvironmentWrapper("KEY", {"KEY": "00" * 32}))
    await store.open()
    chain = AuditChain(store, Audit(store))
    await chain.seal()
    entry = await below.get("audit-meta", "chain-key")
    assert entry is not None
    assert entry.value != chain._key
    other = SealedStore(below, EnvironmentWrapper("KEY", {"KEY": "11" * 32}))
    await other.open()
    with pytest.raises(StoreError, match="sealed with a key that is not here"):
        await AuditChain(other, Audit(other)).verify()


async def test_events_are_chosen_and_name_the_revision_of_the_history(rig: Rig) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n"
    async with rig.session() as session:
        async with session.post("/v1/documents?wait=5", data=text.encode()) as response:
            assert response.status == 200, await response.text()
        for _ in range(100):
            async with session.get("/v1/events?who=ADMIN&what=service") as response:
                (event,) = (await response.json())["events"]
            if event["revision"]:
                break
        assert (event["revision"], event["action"], event["id"] != "") == (1, "create", True)
        for query, count in (("since=2100-01-01T00:00:00Z", 0), ("until=2001-01-01T00:00:00Z", 0), ("outcome=done", 1)):
            async with session.get(f"/v1/events?{query}") as response:
                assert len((await response.json())["events"]) == count, query
        for query in ("since=yesterday", "until=2026-01-01T00:00:00", "limit=0", "limit=x"):
            async with session.get(f"/v1/events?{query}") as response:
                assert response.status == 400, query
        async with session.get("/v1/audit/chain") as response:
            assert (await response.json())["intact"] is True
