"""Two replicas that prove themselves to each other: what one tells, the other knows, and nobody else is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import pytest

from admin.test_agent_api import Agent, certificate_for
from support.control import TOKEN, Rig, running_control
from support.meshdocs import documents, gateway_workload
from weft.admin.api import admin_application
from weft.admin.context import Compiled
from weft.admin.replicas import links
from weft.admin.replicas.everywhere import confirmed_everywhere
from weft.admin.replicas.links import Link, NotServedError
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.rows import Awaited, Found, document_digest, rows_of
from weft.admin.server import serving
from weft.admin.waited import waited
from weft.aio.cell import Cell
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.replicas import LinkContexts
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.status import Lack, Nack, WaitResult
from weft.mesh.model import Mesh
from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.sources.kubernetes.replicas import Place
from weft.testing.polling import eventually

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
EDGE = gateway_workload("edge", "shop")


class FixedPlaces:
    """Where a test says that replicas are."""

    def __init__(self, *places: Place) -> None:
        self.places: Cell[tuple[Place, ...] | None] = Cell(places)
        self.places.set(places)

    def problems(self) -> tuple[Problem, ...]:
        """None."""
        return ()

    async def run(self) -> None:
        """For ever."""
        await asyncio.Event().wait()


class ScriptedHub:
    """A hub with proxies that a test names."""

    def __init__(self) -> None:
        self.there: dict[str, Lack | None] = {}

    def connected(self) -> dict[str, Lack | None]:
        return self.there

    def lacks(self, proxy: str, _revision: int) -> Lack | None:
        return self.there[proxy]

    def problems(self) -> tuple[Problem, ...]:
        return ()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_control(tmp_path / "other") as rig:
        yield rig


@contextlib.asynccontextmanager
async def following(rig: Rig, tmp_path: Path, boot: str = "own") -> AsyncIterator[Replicas]:
    """Replicas that know of one other."""
    certificates = ServerCertificates(rig.parts.authority, (), tmp_path, 3600)
    host, _, port = rig.agents.rpartition(":")
    replicas = Replicas(FixedPlaces(Place("weft-b", host)), int(port), LinkContexts(certificates).current, boot)
    task = asyncio.create_task(replicas.run())
    try:
        yield replicas
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_one_tells_the_other_knows(rig: Rig, tmp_path: Path) -> None:
    hub, [document] = ScriptedHub(), documents(GATEWAY)
    rig.telling._hub = hub  # type: ignore[assignment]
    compiled = rig.parts.compiled
    async with following(rig, tmp_path) as replicas:
        await eventually("it is known", lambda: not replicas.unknown())
        assert replicas.lacks(document, EDGE.speaker) == Lack("is not connected")
        hub.there[EDGE.speaker] = Lack("has not confirmed it yet")
        compiled.set(Compiled(7, None, documents=(document,), workloads=(EDGE,)))
        await eventually("it is connected there", lambda: replicas.connects(EDGE.speaker))
        assert replicas.lacks(document, EDGE.speaker) == Lack("has not confirmed it yet")
        hub.there[EDGE.speaker] = None
        await eventually("it has confirmed it", lambda: replicas.lacks(document, EDGE.speaker) is None)
        newer = replace(document, generation=2)
        assert replicas.lacks(newer, EDGE.speaker) == Lack("has not confirmed it yet"), "there it is the former one"
        hub.there[EDGE.speaker] = Lack("Listener x: no", refused=True)
        await eventually("it refuses it", lambda: replicas.lacks(document, EDGE.speaker) == hub.there[EDGE.speaker])
        del hub.there[EDGE.speaker]
        await eventually("it has left", lambda: not replicas.connects(EDGE.speaker))
        rig.parts.heard.uses("shop/web", "trust", "issuer")
        await eventually(
            "an agent said something", lambda: [one.trust for one in replicas.agents("shop/web")] == ["trust"]
        )


async def test_one_that_goes_is_unknown_and_not_without_proxies(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        serving = await stack.enter_async_context(contextlib.AsyncExitStack())
        rig = await serving.enter_async_context(running_control(tmp_path / "b"))
        [document] = documents(GATEWAY)
        replicas = await stack.enter_async_context(following(rig, tmp_path))
        hub = ScriptedHub()
        rig.telling._hub = hub  # type: ignore[assignment]
        await eventually("it is known", lambda: replicas.links and not replicas.unknown())
        hub.there = {"left.shop": None, EDGE.speaker: None}
        rig.parts.compiled.set(Compiled(7, None))
        await eventually("they are connected there", lambda: replicas.connects(EDGE.speaker))
        del hub.there["left.shop"]
        await eventually("one has left", lambda: list(replicas.missed()) == ["left.shop"])
        await serving.aclose()
        await eventually("it is unknown", replicas.unknown)
        assert {proxy: name for proxy, (name, _) in replicas.missed().items()} == {
            "left.shop": "weft-b",
            EDGE.speaker: "weft-b",
        }
        await replicas._meet(())
        assert set(replicas.missed()) == {"left.shop", EDGE.speaker}, "it is gone, they are somewhere"
        await replicas._meet((Place("weft-b", rig.agents.rpartition(":")[0]),))
        lack = replicas.lacks(document, EDGE.speaker)
        assert lack is not None
        assert lack.text.startswith("may be connected to weft-b, which is unknown: ")
        assert await replicas.drained("web.shop", "", 0.1) == ["replica weft-b"]
        statuses, unknown = await replicas.statuses()
        assert (statuses, [one.replica for one in unknown]) == ([], ["weft-b"])


async def test_drains_that_wait_for_a_caller_hold_up_nothing_else(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Hub, "wait_revision", stuck)
    async with following(rig, tmp_path) as replicas:
        await eventually("it is known", lambda: not replicas.unknown())
        drains = [asyncio.create_task(replicas.drained(f"w{number}.shop", "", 300.0)) for number in range(6)]
        try:
            for name in ("shop/a", "shop/b", "shop/c"):
                rig.parts.heard.uses(name, "trust", "issuer")
                await eventually("it is told", partial(replicas.agents, name), 15.0)
            assert await replicas.statuses() == ([], [])
        finally:
            for task in drains:
                task.cancel()
            await asyncio.gather(*drains, return_exceptions=True)


async def test_who_waits_for_proxies_is_answered_for_all(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refuses at the other replica, in its own words, and one has not answered yet."""
    nack = Nack("edge.shop", "Listener", "x", "no room", (Origin("kubernetes:c/Gateway@7", 3),))
    asked: list[tuple[object, ...]] = []

    async def wait(hub: object, *about: object) -> WaitResult:
        asked.append(about)
        return WaitResult(("web.shop",), (nack,), ("slow.shop",)) if hub is rig.parts.hub else WaitResult((), (), ())

    monkeypatch.setattr(Hub, "wait_revision", wait)
    rig.parts.compiled.set(Compiled(7, None))
    async with following(rig, tmp_path) as replicas, contextlib.AsyncExitStack() as stack:
        hub: Hub[Mesh] = Hub(MeshCompiler())
        context = replace(rig.parts, kubernetes=True, replicas=replicas, hub=hub, compiled=Cell(Compiled(3, None)))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await stack.enter_async_context(serving(admin_application(context, TOKEN), listener))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/confirmation"
        session = await stack.enter_async_context(rig.session())
        await eventually("it is known", lambda: not replicas.unknown())
        async with session.get(url) as response:
            before = await response.json()
        assert before == {"revision": 3, "ticket": {"own": 3, rig.telling.boot: 7}}
        async with session.post(f"{url}?wait=0.3", json={"documents": [], "since": 900}) as response:
            assert response.status == 200
        assert {about[2] for about in asked} == {None}, "who has no ticket may have been told that by another replica"
        asked.clear()
        body = {"documents": [], "since": 3, "ticket": before["ticket"]}
        async with session.post(f"{url}?wait=0.3", json=body) as response:
            waited = (await response.json())["wait"]
        assert (waited["confirmed"], waited["pending"]) == (["web.shop"], ["slow.shop"])
        assert waited["at"] == {"slow.shop": "weft-b"}
        [refusal] = waited["nacked"]
        assert (refusal["proxy"], refusal["replica"], refusal["message"]) == ("edge.shop", "weft-b", "no room")
        assert {(about[0], about[2]) for about in asked} == {(3, 3), (7, 7)}, "each is asked by its own revisions"


async def test_many_who_wait_do_not_hold_up_one_whose_change_was_confirmed(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(hub: object, _revision: int, timeout: float, since: int | None = None, *_: object) -> WaitResult:
        if hub is rig.parts.hub and since == 1:
            await asyncio.sleep(timeout)
            return WaitResult((), (), ("slow.shop",))
        return WaitResult(("web.shop",), (), ())

    monkeypatch.setattr(Hub, "wait_revision", wait)
    rig.parts.compiled.set(Compiled(7, None))
    loop = asyncio.get_running_loop()
    async with following(rig, tmp_path) as replicas:
        hub: Hub[Mesh] = Hub(MeshCompiler())
        context = replace(rig.parts, kubernetes=True, replicas=replicas, hub=hub, compiled=Cell(Compiled(3, None)))
        await eventually("it is known", lambda: replicas.links and not replicas.unknown())

        async def confirmed(since: int, seconds: float) -> dict[str, object]:
            ticket = {"own": 2, rig.telling.boot: since}
            end = loop.time() + seconds
            return waited(await confirmed_everywhere(context, Awaited(since=2), end, ticket=ticket))

        slow = [asyncio.create_task(confirmed(1, 60)) for _ in range(40)]
        try:
            await eventually("they wait", lambda: replicas.links[0]._waiting)
            assert (await confirmed(2, 30))["pending"] == []
            assert not [task for task in slow if task.done()]
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)


async def test_a_replica_that_is_this_one_is_no_other(rig: Rig, tmp_path: Path) -> None:
    async with following(rig, tmp_path, rig.telling.boot) as replicas:
        await eventually("it is found out", lambda: not replicas.links)
        assert not replicas.unknown()


async def test_another_authority_is_no_replica(rig: Rig, other: Rig, tmp_path: Path) -> None:
    certificates = ServerCertificates(other.parts.authority, (), tmp_path, 3600)
    host, _, port = rig.agents.rpartition(":")
    link = Link("weft-x", host, int(port), LinkContexts(certificates).current, "own")
    task = asyncio.create_task(link.run(lambda: None))
    try:
        words = "it does not prove that it is the control plane of this mesh"
        await eventually("it is told", lambda: link.failure == words)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("path", ["rows", "proxies", "proxies/a.b/config/all"])
async def test_workloads_and_strangers_are_told_nothing(rig: Rig, tmp_path: Path, path: str) -> None:
    await Agent(rig, tmp_path).call("GET", f"/v1/replica/{path}", status=401)
    workload = Agent(rig, tmp_path, pem=await certificate_for(rig, EDGE))
    answer = await workload.call("GET", f"/v1/replica/{path}", status=403)
    assert answer["code"] == "not-a-replica"


async def test_a_question_that_an_earlier_release_does_not_know(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "ROOT", "/v1/earlier")
    certificates = ServerCertificates(rig.parts.authority, (), tmp_path, 3600)
    host, _, port = rig.agents.rpartition(":")
    link = Link("weft-b", host, int(port), LinkContexts(certificates).current, "own")
    try:
        with pytest.raises(NotServedError):
            await link.ask("POST", "/confirmed", Found, body=Awaited(wait=0.1))
    finally:
        await link._close()


async def test_rows_of_a_later_release_are_passed_over(rig: Rig) -> None:
    page = await rig.telling.page("", 0, 0.0)
    weather = msgspec.Raw(b'{"type":"weather","sky":"blue"}')
    later = msgspec.structs.replace(page, rows=(*page.rows, weather))
    assert list(rows_of(later)) == list(rows_of(page))


def test_a_document_made_again_is_another() -> None:
    [document] = documents(GATEWAY)
    assert document_digest(document) == document_digest(replace(document))
    assert document_digest(document) != document_digest(replace(document, created=document.created + 1))


async def test_replicas_do_not_take_each_others_connections(rig: Rig, tmp_path: Path) -> None:
    """They have one identity, of which a server keeps eight connections."""
    context = LinkContexts(ServerCertificates(rig.parts.authority, (), tmp_path, 3600)).current()
    known = (await rig.telling.page("", 0, 0.0)).number
    query = {"boot": rig.telling.boot, "after": str(known), "wait": "2"}

    async def ask(number: int) -> int:
        connector = aiohttp.TCPConnector(ssl=context, local_addr=(f"127.0.0.{number}", 0))
        async with (
            aiohttp.ClientSession(f"https://{rig.agents}", connector=connector) as session,
            session.get("/v1/replica/rows", params=query) as response,
        ):
            return response.status

    assert set(await asyncio.gather(*map(ask, range(2, 14)))) == {200}
