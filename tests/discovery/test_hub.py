"""The hub with streams that are plain queues: who is waited for, what a fault ends, what is observed and remembered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from support.discovery import TableCompiler, layer, resource
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.observer import NoObserver
from weft.discovery.peer import Peer
from weft.discovery.server import _inspect
from weft.discovery.stream import Ending, StreamEndedError
from weft.model.identity import SpiffeId
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, ResourceSet

Table = Mapping[str, tuple[ResourceSet, ...]]
NAMES = ("web.shop", "api.shop", "slow.shop")
WORKLOADS = {name: Workload(name.split(".")[0], "shop", "web") for name in (*NAMES, "more.shop")}
IDENTITY = SpiffeId("cluster.local", "shop", "web")


def table(version: str, *names: str, size: int = 10) -> Table:
    big = resource(CLUSTER, "a", version, body=version.encode() + b"x" * size)
    return {name: (layer(big, resource(LISTENER, "l", "1")),) for name in names or NAMES}


class Client:
    """A delta client at the other end of a stream: it answers everything, unless `reads` is cleared."""

    def __init__(self, hub: Hub[Table], name: str = "web.shop", connection: str = "") -> None:
        peer = Peer(name, IDENTITY, time.time() + 3600, connection=connection)
        self.stream = hub.attach(peer, WORKLOADS[name], delta=True)
        self.hub = hub
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.writing = 0
        self.held: dict[str, dict[str, str]] = {CLUSTER: {}, LISTENER: {}, ENDPOINTS: {}}
        self.removed: list[str] = []
        for kind in (CLUSTER, LISTENER):
            self.ask(kind)
        self.task = asyncio.create_task(self.run())

    async def run(self) -> str:
        try:
            await self.stream.run(self.requests.get, self.write)
        except StreamEndedError as error:
            return error.ending.code
        except asyncio.CancelledError:
            return "CANCELLED"
        finally:
            self.hub.detach(self.stream)
        return ""

    def ask(self, kind: str, *names: str, nonce: str = "") -> None:
        request = DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names, response_nonce=nonce)
        self.requests.put_nowait(request.SerializeToString())

    async def write(self, body: bytes) -> None:
        self.writing += len(body)
        await self.reads.wait()
        self.writing -= len(body)
        response = DeltaDiscoveryResponse.FromString(body)
        self.held[response.type_url].update((one.name, one.version) for one in response.resources)
        for name in response.removed_resources:
            self.held[response.type_url].pop(name, None)
            self.removed.append(name)
        self.ask(response.type_url, nonce=response.nonce)

    @property
    def current(self) -> bool:
        return self.stream.session.acked_revision == self.stream.session.snapshot.revision

    async def leave(self) -> str:
        self.requests.put_nowait(None)
        return await self.task


@dataclass
class Notes(NoObserver):
    """An observer that writes everything down."""

    events: list[tuple[str, str]] = field(default_factory=list)
    names: list[frozenset[str]] = field(default_factory=list)

    def attached(self, proxy: str) -> None:
        self.events.append(("attached", proxy))

    def detached(self, proxy: str) -> None:
        self.events.append(("detached", proxy))

    def asked(self, workload: Workload, names: frozenset[str]) -> None:
        self.events.append(("asked", workload.proxy))
        self.names.append(names)


@contextlib.asynccontextmanager
async def serving(limits: Limits | None = None, **options: Any) -> AsyncIterator[Hub[Table]]:
    hub: Hub[Table] = Hub(TableCompiler(), limits=limits or Limits(restart=0, reconnect=0), **options)
    await hub.publish(table("1"), WORKLOADS, 1)
    yield hub
    streams = list(hub._roster)
    for stream in streams:
        stream.end(Ending("UNAVAILABLE", "the test is over"))
    await eventually("all streams end", lambda: not hub.connected())


async def loaded(hub: Hub[Table], *names: str) -> list[Client]:
    clients = [Client(hub, name) for name in names]
    for client in clients:
        await eventually("loaded", lambda: client.current)  # noqa: B023
    return clients


@pytest.mark.parametrize("returns", [True, False], ids=["reconnects", "registers"])
async def test_a_proxy_that_comes_while_a_revision_is_published_is_waited_for(
    returns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every build gives way to the others, and one of them is a proxy that connects."""
    monkeypatch.setattr("weft.aio.turns.TURN_SECONDS", -1.0)
    async with serving() as hub:
        (api,) = await loaded(hub, "api.shop")
        if returns:
            (web,) = await loaded(hub, "web.shop")
            await web.leave()
        publishing = asyncio.create_task(hub.publish(table("2"), WORKLOADS, 2))
        await asyncio.sleep(0)  # it has begun, and waits for its next turn
        assert not publishing.done()
        late = Client(hub, "web.shop")
        late.reads.clear()
        await publishing
        await eventually("the other has confirmed", lambda: api.current)
        assert (await hub.wait_revision(2, 0.01)).pending == ("web.shop",)
        late.reads.set()
        assert (await hub.wait_revision(2, 10)).confirmed == ("api.shop", "web.shop")


async def test_a_fault_in_one_session_ends_that_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as hub:
        web, api = await loaded(hub, "web.shop", "api.shop")

        def fails(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(web.stream.session, "offer", fails)
        await hub.publish(table("2"), WORKLOADS, 2)
        assert await web.task == "INTERNAL"
        await eventually("the other is served", lambda: api.held[CLUSTER] == {"a": "2"})
        monkeypatch.setattr(api.stream, "_note_unmet", fails)
        hub.inspect()
        assert await api.task == "INTERNAL"
        web, slow = await loaded(hub, "web.shop", "slow.shop")
        web.reads.clear()
        monkeypatch.setattr(
            type(slow.stream.session), "loaded", property(lambda one: fails() if one is slow.stream.session else True)
        )
        await hub.publish(table("3"), WORKLOADS, 3)
        waiting = asyncio.create_task(hub.wait_revision(3, 10))
        assert await slow.task == "INTERNAL"
        hub.inspect()
        assert len(hub.proxies()) == 1
        web.reads.set()
        assert (await waiting).confirmed == ("web.shop",)


@pytest.mark.parametrize("how", ["ended", "cancelled", "left", "fault"])
async def test_a_stream_that_is_over_leaves_no_cycle(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as hub:
        (web,) = await loaded(hub, "web.shop")
        reference = weakref.ref(web.stream)
        session = weakref.ref(web.stream.session)
        task, requests = web.task, web.requests
        gc.collect()
        gc.disable()
        try:
            if how == "ended":
                web.stream.end(Ending("UNAUTHENTICATED", "the client certificate has expired"))
            elif how == "cancelled":
                task.cancel()
            elif how == "left":
                requests.put_nowait(None)
            else:
                requests.put_nowait(b"\xff\xff")
            await asyncio.wait([task])
            del web, task, requests
            await asyncio.sleep(0)
            assert reference() is None
            assert session() is None
        finally:
            gc.enable()


async def test_observer_hears_of_the_first_and_the_last_stream() -> None:
    notes = Notes()
    async with serving(observer=notes) as hub:
        (first,) = await loaded(hub, "web.shop")
        assert list(hub.connected()) == ["web.shop"]
        second = Client(hub, "web.shop")
        assert await first.task == "ABORTED"
        assert notes.events == [("attached", "web.shop")]
        await second.leave()
        assert notes.events == [("attached", "web.shop"), ("detached", "web.shop")]
        assert not hub.connected()


async def test_a_connection_that_was_superseded_does_not_come_back_while_the_other_serves() -> None:
    """While one Envoy takes over from another, both want to be the proxy."""
    async with serving(Limits(restart=0)) as hub:
        first = Client(hub, "web.shop", "a")
        second = Client(hub, "web.shop", "b")
        assert await first.task == "ABORTED"
        with pytest.raises(StreamEndedError, match="another connection"):
            Client(hub, "web.shop", "a")
        assert list(hub.connected()) == ["web.shop"]
        again = Client(hub, "web.shop", "b")
        assert await second.task == "ABORTED", "a stream of the same connection takes over as ever"
        await again.leave()
        back = Client(hub, "web.shop", "a")
        await back.leave()


async def test_streams_are_counted() -> None:
    async with serving(Limits(streams=2, restart=0)) as hub:
        web, _ = await loaded(hub, "web.shop", "api.shop")
        with pytest.raises(StreamEndedError):
            Client(hub, "slow.shop")
        await web.leave()
        await loaded(hub, "slow.shop")


async def test_every_stream_is_looked_at_in_ten_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.discovery.roster._AT_ONCE", 1)
    async with serving() as hub:
        clients = await loaded(hub, *NAMES)
        seen: list[str] = []
        for client in clients:
            monkeypatch.setattr(client.stream, "inspect", lambda _, name=client.stream.proxy: seen.append(name))
        for _ in range(6):
            hub.inspect()
        assert sorted(seen) == sorted(NAMES * 2)


def on_demand(*names: str, eager: tuple[str, ...] = ("always",)) -> tuple[ResourceSet, ...]:
    lazy = {name: resource(CLUSTER, name, "1") for name in names}
    return (layer(*(resource(CLUSTER, name, "1") for name in eager)), ResourceSet({CLUSTER: lazy}, on_demand=True))


async def test_on_demand_names_are_told_to_the_observer_and_remembered() -> None:
    notes = Notes()
    remembered = {"web": frozenset({"y", "gone"})}

    def recall(workload: Workload) -> frozenset[str]:
        return remembered.get(workload.name, frozenset())

    async with serving(observer=notes, remembered=recall) as hub:
        await hub.publish({name: on_demand("x", "y") for name in NAMES}, WORKLOADS, 2)
        web, api = await loaded(hub, "web.shop", "api.shop")
        assert (set(web.held[CLUSTER]), set(api.held[CLUSTER])) == ({"always", "y"}, {"always"})
        api.ask(CLUSTER, "x", "always", "later")
        await eventually("all names are answered", lambda: "x" in api.held[CLUSTER] and api.removed == ["later"])
        assert notes.names == [{"x"}]
        await hub.publish({name: on_demand("x", "y", "later") for name in NAMES}, WORKLOADS, 3)
        await eventually("it is pushed when it exists", lambda: "later" in api.held[CLUSTER])
        assert notes.names == [{"x"}, {"later"}]
        assert "later" not in web.held[CLUSTER]
        assert (await hub.wait_revision(3, 10)).confirmed == ("api.shop", "web.shop")


async def test_bytes_on_the_way_to_all_are_bounded_and_small_responses_always_go() -> None:
    limits = Limits(restart=0, reconnect=0, flight_bytes=150_000, small_response=1000)
    async with serving(limits) as hub:
        await hub.publish(table("big", size=100_000), WORKLOADS, 2)
        clients = [Client(hub, name) for name in NAMES]
        for client in clients:
            client.reads.clear()
        await eventually("two of three are being written to", lambda: hub.budget.in_flight > 200_000)
        waiting = next(client for client in clients if client.writing < 1000)
        assert hub.budget.in_flight < 150_000 + 110_000
        waiting.reads.set()
        await hub.publish(table("2"), WORKLOADS, 3)
        await eventually("a small one goes", lambda: waiting.held[CLUSTER] == {"a": "2"})
        await hub.publish(table("large", size=100_000), WORKLOADS, 4)
        await asyncio.sleep(0)
        assert waiting.held[CLUSTER] == {"a": "2"}
        for client in clients:
            client.reads.set()
        await eventually("all in their turn", lambda: all(client.held[CLUSTER] == {"a": "large"} for client in clients))
        await eventually("nothing is counted twice", lambda: not hub.budget.in_flight)


async def test_a_client_that_does_not_read_holds_up_the_others_for_a_moment_only() -> None:
    async with serving(Limits(restart=0, reconnect=0, flight_bytes=1, small_response=0, turn=0.05)) as hub:
        stuck = Client(hub, "slow.shop")
        stuck.reads.clear()
        await eventually("it is written to, and does not read", lambda: bool(stuck.writing))
        (web,) = await loaded(hub, "web.shop")
        assert web.held[CLUSTER] == {"a": "1"}
        assert stuck.writing


async def test_a_client_that_does_not_read_a_small_response_does_not_keep_the_turn() -> None:
    limits = Limits(restart=0, reconnect=0, flight_bytes=1, small_response=1000, turn=0.5)
    async with serving(limits) as hub:
        writing, stuck, last = await loaded(hub, *NAMES)
        for client in (writing, stuck):
            client.reads.clear()
        full = dict(table("2", "web.shop", size=100_000))
        await hub.publish({**table("1"), **full}, WORKLOADS, 2)
        await eventually("no room is left", lambda: hub.budget.in_flight > 0)
        large, small = resource(CLUSTER, "b", "1", body=b"x" * 2000), resource(LISTENER, "m", "1")
        same = table("1")["web.shop"][0]
        await hub.publish({**{name: (same, layer(large)) for name in NAMES}, **full}, WORKLOADS, 3)
        await eventually("both wait", lambda: stuck.stream.session.deferred and last.stream.session.deferred)
        await hub.publish({**{name: (same, layer(large, small)) for name in NAMES}, **full}, WORKLOADS, 4)
        await eventually("large ones wait, small ones do not", lambda: stuck.writing > 0 and "m" in last.held[LISTENER])
        assert "b" not in last.held[CLUSTER]
        await eventually("who cannot take its turn is passed over", lambda: last.held[CLUSTER].get("b") == "1", 5)


async def test_who_leaves_while_waiting_for_a_turn_passes_it_on() -> None:
    limits = Limits(restart=0, reconnect=0, flight_bytes=1, small_response=0)
    async with serving(limits) as hub:
        clients = [Client(hub, name) for name in NAMES]
        for client in clients:
            client.reads.clear()
        await eventually("one at a time", lambda: any(client.writing for client in clients))
        await asyncio.sleep(0)
        assert sum(client.writing > 0 for client in clients) == 1
        writing = next(client for client in clients if client.writing)
        first, last = (client for client in clients if client is not writing)
        await first.leave()
        writing.stream.end(Ending("UNAVAILABLE", "stuck"))
        await writing.task
        last.reads.set()
        await eventually("its turn comes", lambda: last.current)


async def test_what_streams_shared_is_forgotten_with_the_publication() -> None:
    async with serving() as hub:
        (web,) = await loaded(hub, "web.shop")
        for revision in range(2, 6):
            await hub.publish(table(f"kept-{revision}", size=50_000), WORKLOADS, revision)
            await eventually("confirmed", lambda: web.current)
        gc.collect()
        alive = {one.version for one in gc.get_objects() if type(one) is Resource and one.version.startswith("kept-")}
        assert alive == {"kept-5"}, "nothing of old layers is kept"


async def test_what_proxies_share_is_made_before_the_first_of_them_comes() -> None:
    compiler = TableCompiler()
    hub: Hub[Table] = Hub(compiler)
    far = Workload("far", "other", "web")
    await hub.publish(table("1", "web.shop"), {**WORKLOADS, far.proxy: far}, 1)
    assert compiler.compiled == ["web.shop", "far.other"]
    assert hub.problems() == ()
    await hub.publish(table("2", "web.shop"), WORKLOADS, 2)
    assert compiler.compiled == ["web.shop", "far.other"]


class Silent(Client):
    """A proxy that loads, and from `mute` on answers nothing; or refuses everything from `lie` on."""

    mute = False
    lie = False

    def ask(self, kind: str, *names: str, nonce: str = "") -> None:
        if not (self.mute and nonce):
            request = DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names, response_nonce=nonce)
            if self.lie and nonce:
                request.error_detail.message = "I do not like it"
            self.requests.put_nowait(request.SerializeToString())


SHORT = Limits(restart=0, reconnect=0, patience=0.2)


async def waited(hub: Hub[Table], revision: int) -> Any:
    """What waiting says, while the hub is looked at as the server does it."""
    waiting = asyncio.create_task(hub.wait_revision(revision, 20))
    while not waiting.done():
        hub.inspect()
        await asyncio.sleep(0.01)
    return await waiting


async def test_a_proxy_that_does_not_answer_is_waited_for_once_and_then_shown_as_stuck() -> None:
    async with serving(SHORT) as hub:
        (web,) = await loaded(hub, "web.shop")
        silent = Silent(hub, "slow.shop")
        await eventually("loaded", lambda: silent.current)
        silent.mute = True
        await hub.publish(table("2"), WORKLOADS, 2)
        result = await waited(hub, 2)
        assert (result.confirmed, result.pending, result.stuck) == (("web.shop",), (), ("slow.shop",))
        assert [status.name for status in hub.proxies() if status.stuck] == ["slow.shop"]
        assert [problem.code for problem in hub.problems()] == ["proxy-stuck"]
        await hub.publish(table("3"), WORKLOADS, 3)
        await eventually("the other has confirmed", lambda: web.current)
        assert (await hub.wait_revision(3, 0)).stuck == ("slow.shop",), "at once"
        assert await hub.settled(0)
        await silent.leave()
        again = Silent(hub, "slow.shop")
        again.mute = True
        await hub.publish(table("4"), WORKLOADS, 4)
        await eventually("the other has confirmed", lambda: web.current)
        result = await hub.wait_revision(4, 0)
        assert (result.pending, result.stuck) == ((), ("slow.shop",)), "nor for what it does not answer next time"
        await again.leave()
        honest = Client(hub, "slow.shop")
        await eventually("loaded", lambda: honest.current)
        honest.reads.clear()
        await hub.publish(table("5"), WORKLOADS, 5)
        assert (await hub.wait_revision(5, 0.01)).pending == ("slow.shop",), "it is forgiven"
        honest.reads.set()
        assert (await hub.wait_revision(5, 10)).confirmed == ("slow.shop", "web.shop")
        assert hub.problems() == ()


async def test_a_proxy_that_never_loaded_is_not_waited_for() -> None:
    late = Workload("late", "shop", "web")
    workloads, names = {**WORKLOADS, late.proxy: late}, (*NAMES, late.proxy)
    async with serving(SHORT) as hub:
        (web,) = await loaded(hub, "web.shop")
        await hub.publish(table("2", *names), workloads, 2)
        nothing = hub.attach(Peer(late.proxy, IDENTITY, time.time() + 3600), late, delta=True)
        nothing.take(DeltaDiscoveryRequest(type_url=ENDPOINTS).SerializeToString())
        await hub.publish(table("3", *names), workloads, 3)
        await eventually("the other has confirmed", lambda: web.current)
        result = await hub.wait_revision(3, 0)
        assert (result.confirmed, result.pending, result.gone) == (("web.shop",), (), (late.proxy,))
        hub.detach(nothing)


async def test_one_that_comes_back_and_asks_for_nothing_is_waited_for_as_long_as_for_an_answer() -> None:
    """It may hold what it was given before."""
    async with serving(SHORT) as hub:
        web, slow = await loaded(hub, "web.shop", "slow.shop")
        await slow.leave()
        back = hub.attach(Peer("slow.shop", IDENTITY, time.time() + 3600), WORKLOADS["slow.shop"], delta=True)
        await hub.publish(table("2"), WORKLOADS, 2)
        await eventually("the other has confirmed", lambda: web.current)
        assert (await hub.wait_revision(2, 0)).pending == ("slow.shop",)
        assert (await waited(hub, 2)).stuck == ("slow.shop",)
        hub.detach(back)


@pytest.mark.parametrize("lies", [True, False], ids=["lies", "is right"])
async def test_a_proxy_that_alone_refuses_what_others_took_is_to_blame_itself(lies: bool) -> None:
    names = (*NAMES, "more.shop") if lies else ("web.shop", "slow.shop")
    async with serving() as hub:
        await hub.publish(table("1", *names), WORKLOADS, 1)
        others = await loaded(hub, *(name for name in names if name != "slow.shop"))
        liar = Silent(hub, "slow.shop")
        await eventually("loaded", lambda: liar.current)
        liar.lie = True
        await hub.publish(table("2", *names), WORKLOADS, 2)
        result = await hub.wait_revision(2, 10)
        (nack,) = result.nacked
        assert (nack.proxy, nack.taken_by, nack.stands_alone) == ("slow.shop", len(others), lies)
        assert result.confirmed == tuple(sorted(other.stream.proxy for other in others))
        (problem,) = hub.problems()
        assert (str(problem.severity), problem.origin.source) == (
            ("warning", "proxy slow.shop") if lies else ("error", "a.yaml")
        )
        assert ("only proxy slow.shop refuses" in problem.message) is lies


async def test_a_fault_in_looking_at_proxies_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []

    def fails() -> None:
        looked.append(None)
        raise ZeroDivisionError

    async with serving() as hub:
        monkeypatch.setattr(hub, "inspect", fails)
        monkeypatch.setattr("weft.discovery.server._INSPECTION_SECONDS", 0.01)
        inspecting = asyncio.create_task(_inspect(hub))
        await eventually("it goes on", lambda: len(looked) > 2)
        inspecting.cancel()
        await asyncio.gather(inspecting, return_exceptions=True)
