"""The server under clients that ask for too much: they are ended, and others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from discovery.test_xds_server import WORKLOADS, ask, load, response, running
from support.discovery import layer, resource
from weft.discovery.grpc_tls import grpc
from weft.discovery.limits import Limits
from weft.discovery.server import XdsServer
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET


async def test_names_that_are_repeated_are_charged_by_their_bytes() -> None:
    """A state-of-the-world client repeats its names; one that does so unasked is ended before it keeps us busy."""
    async with running(Limits(request_burst=20, request_rate=1)) as fixture:
        await fixture.publish(1, "1")
        many = discovery_pb2.DiscoveryRequest(
            type_url=ENDPOINTS,
            node=base_pb2.Node(id="web.shop"),
            resource_names=[f"cluster-{number}-{'x' * 40}" for number in range(2000)],
        )
        call = fixture.connect(fixture.pair(), delta=False)
        for _ in range(4):
            await call.write(many.SerializeToString())
        async with asyncio.timeout(60):
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await load(fixture.connect(fixture.pair("api.shop")), "api.shop")


async def test_one_budget_of_names_for_all_streams_of_a_proxy() -> None:
    async with running(Limits(kept_bytes=500_000)) as fixture:
        await fixture.publish(1, "1")
        request = discovery_pb2.DiscoveryRequest(
            node=base_pb2.Node(id="web.shop"), resource_names=[f"{number}-{'x' * 900}" for number in range(200)]
        )
        calls = [fixture.connect(fixture.pair(), delta=False) for _ in range(2)]
        for call, kind in ((calls[0], ENDPOINTS), (calls[1], ROUTES)):
            request.type_url = kind
            await call.write(request.SerializeToString())
        await eventually("they fit", lambda: len(fixture.hub.proxies()) == 2)
        request.type_url = SECRET
        code, details = await fixture.refusal(calls[1], request)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "500000 bytes" in details
        calls[0].cancel()
        await eventually("both have ended", lambda: fixture.hub.proxies() == ())
        another = fixture.connect(fixture.pair(), delta=False)
        await another.write(request.SerializeToString())
        await eventually("what they held is given back", lambda: len(fixture.hub.proxies()) == 1)


def test_there_is_room_for_twice_what_is_registered_and_for_some_strangers() -> None:
    limits = Limits()
    assert [limits.room_for(proxies) for proxies in (0, 256, 257, 1000, 3000, 10_000)] == [
        1024, 1024, 2048, 4096, 8192, 12_000,
    ]  # fmt: skip


def test_the_fewer_proxies_the_sooner_a_dead_machine_is_noticed() -> None:
    limits = Limits()
    assert [limits.listening(proxies).keepalive for proxies in (0, 256, 257, 1000, 3000, 10_000)] == [
        5, 5, 10, 20, 30, 30,
    ]  # fmt: skip


async def test_the_room_grows_with_what_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.discovery.server._INSPECTION_SECONDS", 0.05)
    async with running(Limits(restart=0, fewest_connections=16)) as fixture:
        await fixture.publish(1, "1")
        early = fixture.connect(fixture.pair())
        await load(early)
        with contextlib.ExitStack() as held:
            for _ in range(30):
                held.enter_context(socket.create_connection(("127.0.0.1", fixture.port)))
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await load(fixture.connect(fixture.pair("api.shop")), "api.shop")
            many = {f"w{number}.shop": Workload(f"w{number}", "shop", "web") for number in range(40)}
            table = {name: (layer(resource(CLUSTER, "a", "2"), resource(LISTENER, "l", "1")),) for name in WORKLOADS}
            await fixture.hub.publish(table, {**WORKLOADS, **many}, 2)

            async def connects() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await load(fixture.connect(fixture.pair("api.shop")), "api.shop")
                    return True
                return False

            async with asyncio.timeout(60):
                while not await connects():
                    pass
            waiting = asyncio.create_task(fixture.hub.wait_revision(2, 10))
            got = await response(early)
            await early.write(ask(CLUSTER, nonce=got.nonce).SerializeToString())
            assert "web.shop" in (await waiting).confirmed, "nobody was disconnected"


async def test_a_fault_while_the_listener_is_replaced_is_not_the_end_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.discovery.server._INSPECTION_SECONDS", 0.05)
    async with running(Limits(restart=0, fewest_connections=16)) as fixture:
        await fixture.publish(1, "1")
        start, faults = XdsServer.start, 0

        async def faulty(server: XdsServer, host: str, port: int) -> int:
            nonlocal faults
            faults += 1
            if faults == 1:
                raise RuntimeError("a fault")
            return await start(server, host, port)

        monkeypatch.setattr(XdsServer, "start", faulty)
        many = {f"w{number}.shop": Workload(f"w{number}", "shop", "web") for number in range(40)}
        table = {name: (layer(resource(CLUSTER, "a", "2"), resource(LISTENER, "l", "1")),) for name in WORKLOADS}
        await fixture.hub.publish(table, {**WORKLOADS, **many}, 2)
        await eventually("it is tried again", lambda: faults > 1)
