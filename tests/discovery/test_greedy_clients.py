"""The server under clients that ask for too much: they are ended, and others do not notice."""

from __future__ import annotations

import asyncio

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from discovery.test_xds_server import eventually, load, running
from weft.discovery.grpc_tls import grpc
from weft.discovery.limits import Limits
from weft.xds.snapshot import ENDPOINTS, ROUTES, SECRET


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
        async with asyncio.timeout(5):
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
        await eventually(lambda: len(fixture.hub.proxies()) == 2, "they fit")
        request.type_url = SECRET
        code, details = await fixture.refusal(calls[1], request)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "500000 bytes" in details
        calls[0].cancel()
        await eventually(lambda: fixture.hub.proxies() == (), "both have ended")
        another = fixture.connect(fixture.pair(), delta=False)
        await another.write(request.SerializeToString())
        await eventually(lambda: len(fixture.hub.proxies()) == 1, "what they held is given back")
