"""Who holds a registration: agents by renewing, proxies by being connected."""

import asyncio
from collections.abc import Mapping

import pytest

from weft.model.workload import NodeBinding, Workload
from weft.sources.leases import LONGEST_WORD_SECONDS, Leases, carriers_of
from weft.sources.workloads import put_workload
from weft.store.memory import MemoryStore
from weft.store.protocol import Delete, StoreError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Time:
    """Leases of 15 s on a memory store, and a clock that is moved in small steps, as `Leases.run` looks."""

    def __init__(self, renewals: float = 2.0) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.renewals = renewals
        self.restart()

    def restart(self) -> None:
        self.leases = Leases(self.store, 15, self.clock, self.renewals)

    async def step(self, seconds: float) -> tuple[str, ...]:
        """Move the clock at once."""
        self.clock.now += seconds
        return (await self.leases.expire())[0]

    async def passes(self, seconds: float) -> tuple[str, ...]:
        """What ends while time passes."""
        ended: tuple[str, ...] = ()
        for _ in range(round(seconds * 2)):
            ended += await self.step(0.5)
        return ended

    async def register(self, name: str) -> None:
        key = f"ns/{name}"
        await self.store.write([put_workload(Workload(name, "ns", "x"))], leases=self.leases.granted(key))
        self.leases.heard(key, self.leases.ttl)

    async def registered(self) -> list[str]:
        return [entry.key for entry in (await self.store.list("workloads"))[1]]


@pytest.fixture
def time() -> Time:
    return Time()


async def test_leases_end_after_their_time_and_not_before_the_grace(time: Time) -> None:
    store = time.store
    await store.write([put_workload(Workload(name, "ns", "x")) for name in ("dead", "alive", "unleased")])
    await store.extend({"ns/dead": 1001.0, "ns/alive": 1030.0})
    assert await time.step(5) == (), "the grace of one TTL after the start"
    assert await time.step(5) == ()
    assert set(await time.step(5)) == {"ns/dead", "ns/unleased"}
    assert await time.step(5) == ()
    assert await time.registered() == ["ns/alive"]
    assert await time.step(600) == (), "nobody could renew while this machine was suspended"
    assert await time.step(7) == ()
    assert await time.step(7) == ()
    assert await time.step(7) == ("ns/alive",)


async def test_an_agent_holds_its_registration_by_renewing(time: Time) -> None:
    await time.passes(20)
    await time.register("a")
    for _ in range(10):
        assert await time.passes(14) == ()
        assert await time.leases.renew("ns/a") == 15
    assert await time.passes(14.5) == ()
    assert await time.passes(1) == ("ns/a",)
    assert await time.leases.renew("ns/a") is None, "and is told when it came too late"


async def test_a_proxy_holds_what_its_dead_agent_does_not(time: Time) -> None:
    """The agent does not carry the traffic: its death ends nothing, and is told within one lease."""
    await time.register("a")
    time.leases.attached("a.ns")
    await time.passes(20)
    await time.register("a")
    for _ in range(5):
        assert await time.passes(5) == ()
        assert await time.leases.renew("ns/a") == 15
    assert await time.passes(14.5) == ()
    assert time.leases.silent() == ()
    assert await time.passes(1) == ()
    assert time.leases.silent() == ("ns/a",)
    assert await time.passes(5000) == ()
    assert await time.leases.held("ns/a"), "nobody else takes the name of an instance that has traffic"
    time.leases.detached("a.ns")
    assert await time.passes(14.5) == ()
    assert await time.passes(1) == ("ns/a",), "both are gone"
    assert not time.leases._holds


async def test_an_agent_that_is_back_is_not_silent(time: Time) -> None:
    await time.register("a")
    time.leases.attached("a.ns")
    await time.passes(60)
    assert time.leases.silent() == ("ns/a",)
    assert await time.leases.renew("ns/a") == 15
    assert time.leases.silent() == ()


async def test_a_pod_has_no_lease_and_its_agent_speaks_as_others_do() -> None:
    time = Time(renewals=0.1)
    for number in range(10):
        time.leases.attached(f"p{number}.ns", leased=False)
    await time.passes(20)
    assert (await time.store.leases(), await time.store.list("workloads")) == ({}, (0, ()))
    assert time.leases.spoken("ns/p0") == 300.0
    assert time.leases.spoken("ns/absent") == 15
    await time.passes(290)
    assert "ns/p0" not in time.leases.silent()
    await time.passes(20)
    assert time.leases.silent() == ("ns/p0",), "the others have an hour"
    assert time.leases.here("ns/p0")
    for number in range(10):
        time.leases.detached(f"p{number}.ns")
    assert not time.leases.here("ns/p0")
    await time.passes(20)
    assert not time.leases._holds


async def test_nothing_ends_while_callers_are_turned_away(time: Time) -> None:
    await time.register("a")
    await time.passes(14)
    for _ in range(10):
        time.leases.turned_away()
        assert await time.passes(14) == ()
    assert time.leases.silent() == ()
    assert await time.passes(1.5) == ("ns/a",)


async def test_connected_proxies_let_many_agents_renew_seldom() -> None:
    time = Time(renewals=0.1)
    names = [f"w{number}" for number in range(10)]
    for name in names:
        await time.register(name)
        time.leases.attached(f"{name}.ns")
    words = {await time.leases.renew(f"ns/{name}") for name in names}
    assert words == {300.0}, "ten agents that renew three times in 300 s renew 0.1 times a second"
    assert await time.passes(299) == (), "their proxies hold the registrations"
    for name in names[1:]:
        await time.leases.renew(f"ns/{name}")
    assert time.leases.silent() == ()
    assert await time.passes(2) == ()
    assert time.leases.silent() == ("ns/w0",), "a dead agent is noticed when its word is too old"


async def test_a_word_never_counts_for_longer_than_the_longest() -> None:
    time = Time(renewals=0.001)
    for number in range(50):
        await time.register(f"w{number}")
        time.leases.attached(f"w{number}.ns")
    assert await time.leases.renew("ns/w0") == LONGEST_WORD_SECONDS


async def test_when_the_proxy_has_gone_a_lease_is_left() -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    time.leases.attached("a.ns")
    time.leases.attached("a.ns")
    assert await time.leases.renew("ns/a") == 300
    assert await time.passes(100) == ()
    time.leases.detached("a.ns")
    assert await time.passes(30) == (), "another stream is there"
    time.leases.detached("a.ns")
    assert await time.passes(14.5) == ()
    assert await time.passes(1) == ("ns/a",)
    time.leases.detached("a.ns")
    time.leases.attached("a.ns")
    assert await time.passes(30) == ()
    assert await time.registered() == [], "a stream makes no registration"


async def test_a_proxy_that_reconnects_holds_on() -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    time.leases.attached("a.ns")
    await time.leases.renew("ns/a")
    for _ in range(10):
        assert await time.passes(10) == ()
        time.leases.detached("a.ns")
        assert await time.passes(10) == ()
        time.leases.attached("a.ns")


async def test_an_agent_renews_while_its_proxy_is_away() -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    time.leases.attached("a.ns")
    await time.leases.renew("ns/a")
    time.leases.detached("a.ns")
    for _ in range(10):
        assert await time.passes(10) == ()
        assert await time.leases.renew("ns/a") == 15, "as often as without a proxy"


async def test_after_a_restart_connected_proxies_hold_what_their_agents_renew_seldom() -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    await time.register("b")
    time.leases.attached("a.ns")
    time.leases.attached("b.ns")
    assert await time.leases.renew("ns/a") == 600
    time.restart()
    await time.passes(2)
    time.leases.attached("a.ns")
    assert await time.passes(12) == ()
    assert await time.passes(3) == ("ns/b",)
    assert await time.passes(500) == ()


@pytest.mark.parametrize("gap", [5000, 8, -500], ids=["suspended", "stopped", "clock put back"])
async def test_time_in_which_nobody_could_speak_does_not_count(gap: float) -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    time.leases.attached("a.ns")
    assert await time.leases.renew("ns/a") == 300
    await time.passes(20)
    assert await time.step(gap) == ()
    assert await time.passes(270) == ()
    assert time.leases.silent() == ()
    assert await time.passes(30) == ()
    assert time.leases.silent() == ("ns/a",), "a dead agent is noticed as soon as without it"


async def test_suspended_agents_are_given_time_to_speak() -> None:
    time = Time(renewals=0.01)
    await time.register("a")
    time.leases.attached("a.ns")
    await time.leases.renew("ns/a")
    await time.passes(20)
    time.leases.detached("a.ns")
    assert await time.passes(5) == ()
    assert await time.step(5000) == ()
    time.leases.attached("a.ns")
    assert await time.passes(270) == (), "also when the proxy comes back only after that"


async def test_a_deregistered_workload_is_forgotten(time: Time) -> None:
    await time.register("a")
    time.leases.attached("a.ns")
    await time.passes(14)
    assert await time.leases.renew("ns/a") is not None
    await time.passes(2)
    assert await time.leases.held("ns/a")
    await time.store.write([Delete("workloads", "ns/a")])
    time.leases.forget("ns/a")
    assert not await time.leases.held("ns/a")
    time.leases.detached("a.ns")
    assert not time.leases._holds
    assert not time.leases._connected


async def test_a_name_is_held_until_its_agent_could_have_renewed(time: Time) -> None:
    await time.register("a")
    await time.store.extend({"ns/a": 900.0})
    time.restart()
    assert await time.leases.held("ns/a"), "the control plane is just back: the agent may be there"
    time.clock.now += 16
    assert not await time.leases.held("ns/a")
    await time.leases.renew("ns/a")
    assert await time.leases.held("ns/a")


async def test_a_store_that_is_away_ends_nothing_and_loses_nothing(time: Time) -> None:
    class Broken(MemoryStore):
        broken = False

        async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
            if self.broken:
                raise StoreError("away")
            return await super().extend(leases)

    store = time.store = Broken(time.clock)
    time.renewals = 0.01
    time.restart()
    await time.register("a")
    time.leases.attached("a.ns")
    await time.leases.renew("ns/a")
    await time.passes(20)
    time.leases.detached("a.ns")
    store.broken = True
    with pytest.raises(StoreError):
        await time.step(1)
    store.broken = False
    assert await time.passes(13.5) == ()
    assert await time.passes(1) == ("ns/a",)


async def test_holding_many_is_one_write_now_and_then() -> None:
    class Counting(MemoryStore):
        writes = 0
        keys = 0

        async def extend(self, leases: Mapping[str, float]) -> frozenset[str]:
            self.writes += 1
            self.keys += len(leases)
            return await super().extend(leases)

    time = Time(renewals=0.5)
    store = time.store = Counting(time.clock)
    time.restart()
    for number in range(100):
        await time.register(f"w{number}")
        time.leases.attached(f"w{number}.ns")
    for number in range(100):
        await time.leases.renew(f"ns/w{number}")
    store.writes = store.keys = 0
    assert await time.passes(150) == ()
    assert store.writes <= 150 / 7
    assert store.keys <= 100 * 150 / 7


async def test_running_sleeps_until_something_may_end() -> None:
    class Watched(MemoryStore):
        asked = 0

        async def expire(self, now: float) -> tuple[tuple[str, ...], float]:
            self.asked += 1
            return await super().expire(now)

    store = Watched()
    leases = Leases(store, 2.0)
    running = asyncio.create_task(leases.run())
    await store.write([put_workload(Workload("a", "ns", "x"))], leases=leases.granted("ns/a"))
    async with asyncio.timeout(60):
        await store.changes(1, 10)
    assert await store.get("workloads", "ns/a") is None
    assert store.asked <= 6, "four times per lease, and when the lease ends"
    running.cancel()


async def test_the_proxy_of_a_node_holds_those_that_it_carries(time: Time) -> None:
    node = Workload("node", "ns", "x", node=NodeBinding(("a.ns",)))
    carried = Workload("a", "ns", "x", carrier="node.ns")
    time.leases.carriers = lambda: carriers_of((node, carried))
    await time.register("node")
    await time.register("a")
    time.leases.attached("node.ns")
    assert await time.passes(60) == ()
    assert await time.registered() == ["ns/a", "ns/node"]
    time.leases.detached("node.ns")
    assert set(await time.passes(31)) == {"ns/a", "ns/node"}


async def test_a_node_holds_nobody_whom_it_does_not_name(time: Time) -> None:
    """What names the node was perhaps carried once, and could not say goodbye."""
    binding = NodeBinding(("a.ns", "other.ns"))
    workloads = [
        Workload("node", "ns", "x", node=binding),
        Workload("a", "ns", "x", carrier="node.ns"),
        Workload("gone", "ns", "x", carrier="node.ns"),
        Workload("other", "ns", "x"),
    ]
    time.leases.carriers = lambda: carriers_of(workloads)
    for each in workloads:
        await time.register(each.name)
    time.leases.attached("node.ns")
    assert set(await time.passes(60)) == {"ns/gone", "ns/other"}
    workloads[0] = Workload("node", "ns", "x", node=NodeBinding())
    assert await time.passes(60) == ("ns/a",)
    assert await time.registered() == ["ns/node"]
