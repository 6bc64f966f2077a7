"""A server whose proxies are to go to another: they go one after the other."""

from __future__ import annotations

import asyncio

import pytest

from discovery.test_xds_server import WORKLOADS, Fixture, load
from weft.discovery import server as module
from weft.discovery.grpc_tls import grpc
from weft.discovery.limits import Limits
from weft.discovery.server import serving_xds


async def test_a_server_that_drains_lets_one_after_the_other_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 1.5)
    fixture = Fixture(Limits(restart=0))
    server = serving_xds("127.0.0.1", 0, material=lambda: fixture.material, hub=fixture.hub, lookup=WORKLOADS.get)
    async with server as listener:
        fixture.port = listener.port
        await fixture.publish(1, "1")
        calls = [fixture.connect(fixture.pair(name)) for name in ("web.shop", "api.shop")]
        for call, name in zip(calls, ("web.shop", "api.shop"), strict=True):
            await load(call, name)
        seen: list[int] = []
        draining = asyncio.create_task(listener.drain(3.0))
        while not draining.done():
            seen.append(len(fixture.hub.connected()))
            await asyncio.sleep(0.01)
        assert sorted(set(seen), reverse=True)[:2] == [2, 1], "not both at once"
        for call in calls:
            assert (await call.code(), await call.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "the control plane is stopping",
            )
    for channel in fixture.channels:
        await channel.close()
