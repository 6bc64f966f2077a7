"""A real Envoy and slots: filters are configured by the xDS server, refuse everybody without it, and listeners stay."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    PerRouteConfig,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.json_format import MessageToDict, ParseDict

from support.discovery import ProxyAuthority, TableCompiler, layer
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.served import (
    PROXY,
    URI,
    WORKLOAD,
    Table,
    application,
    bootstrap,
    cluster,
    endpoints,
    listener,
    served,
)
from weft.discovery.hub import Hub
from weft.testing.polling import eventually
from weft.xds.filters.chain import slot
from weft.xds.messages import packed
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, EXTENSION, Resource, ResourceSet

SLOT = "tokens|r"
REFUSED_WITHOUT_CONFIGURATION = 403
TOKEN_MISSING = 401
KEYS = json.dumps(
    {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }
        ]
    }
)
"""The public key of RFC 8037, appendix A."""


def front(port: int) -> Resource:
    """A listener with an empty slot."""
    entry = HttpFilter(name=SLOT, config_discovery=slot(packed(JwtAuthentication())), disabled=True)
    made = listener("front", port, (MessageToDict(entry, preserving_proto_field_name=True),))
    return replace(made, requires=(*made.requires, (EXTENSION, SLOT)))


def guarded(*, enabled: bool) -> Resource:
    """Routes to the application, which enable the filter or not."""
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]}
    message = ParseDict({"name": "r", "virtual_hosts": [host]}, route_pb2.RouteConfiguration())
    requires = [(CLUSTER, "a")]
    if enabled:
        message.typed_per_filter_config[SLOT].CopyFrom(packed(PerRouteConfig(requirement_name="tokens")))
        requires.append((EXTENSION, SLOT))
    return encode_resource(message, "r", requires=tuple(requires))


def tokens(*, required: bool, keys: str = KEYS) -> Resource:
    """What the slot holds."""
    provider = JwtProvider(issuer="https://issuer.example")
    provider.local_jwks.inline_string = keys
    named = JwtRequirement(provider_name="one")
    other = JwtRequirement()
    other.allow_missing.SetInParent()
    requirement = named if required else JwtRequirement()
    if not required:
        requirement.requires_any.requirements.extend([named, other])
    config = JwtAuthentication(providers={"one": provider}, requirement_map={"tokens": requirement})
    return encode_resource(TypedExtensionConfig(name=SLOT, typed_config=packed(config)), SLOT)


async def status(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
        return response.status


@pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
async def test_a_slot_is_filled_changed_and_emptied_while_its_listener_stays(variant: str, tmp_path: Path) -> None:
    hub: Hub[Table] = Hub(TableCompiler())
    authority = ProxyAuthority()
    port = free_port()
    async with application("one") as one:
        targets = layer(cluster("a"), endpoints("a", one))

        async def publish(revision: int, *resources: Resource) -> None:
            own: tuple[ResourceSet, ...] = (targets, layer(front(port), *resources))
            await hub.publish({PROXY: own}, {PROXY: WORKLOAD}, revision)
            if revision > 1:
                assert (await hub.wait_revision(revision, 10)).confirmed == (PROXY,)

        await publish(1, guarded(enabled=False))
        async with (
            served(hub, authority) as xds,
            running_envoy(bootstrap(tmp_path, xds, authority.issue(PROXY, URI), variant), tmp_path) as envoy,
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            assert await status(port) == 200
            async with asking_all_the_time(port, {200}):
                await publish(2, guarded(enabled=True), tokens(required=False))
            routes = await route_updates(envoy)
            await publish(3, guarded(enabled=True), tokens(required=True))
            assert await status(port) == TOKEN_MISSING
            await publish(4, guarded(enabled=True), tokens(required=False))
            async with asking_all_the_time(port, {200}):
                assert await route_updates(envoy) == routes, "only the slot was replaced"
                await publish(5, guarded(enabled=False))
            await publish(6, guarded(enabled=True))
            expected = REFUSED_WITHOUT_CONFIGURATION if variant == "DELTA_GRPC" else 200
            assert await status(port) == expected, "state-of-the-world clients cannot be told that a filter is gone"
            await publish(7, guarded(enabled=True), tokens(required=True))
            assert await status(port) == TOKEN_MISSING
            assert await envoy.stat("listener_manager.listener_modified") == 0
            assert await envoy.stat("listener_manager.listener_added") == 1
            assert hub.problems() == ()


@pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
async def test_a_slot_whose_configuration_is_refused_refuses(variant: str, tmp_path: Path) -> None:
    hub: Hub[Table] = Hub(TableCompiler())
    authority = ProxyAuthority()
    port = free_port()
    async with application("one") as one:
        shared = layer(cluster("a"), endpoints("a", one), guarded(enabled=True))
        bad = tokens(required=True, keys="no keys")
        await hub.publish({PROXY: (shared, layer(front(port), bad))}, {PROXY: WORKLOAD}, 1)
        async with (
            served(hub, authority) as xds,
            running_envoy(bootstrap(tmp_path, xds, authority.issue(PROXY, URI), variant), tmp_path),
        ):
            await eventually("first load", lambda: bool(hub.proxies()) and hub.proxies()[0].revision_acked == 1)
            assert await status(port) == REFUSED_WITHOUT_CONFIGURATION
            assert {problem.code for problem in hub.problems()} == {"nack"}
            good = layer(front(port), tokens(required=False))
            await hub.publish({PROXY: (shared, good)}, {PROXY: WORKLOAD}, 2)
            assert (await hub.wait_revision(2, 10)).confirmed == (PROXY,)
            assert await status(port) == 200


async def route_updates(envoy: RunningEnvoy) -> int:
    return await envoy.stat("http.in.rds.r.update_success")


@contextlib.asynccontextmanager
async def asking_all_the_time(port: int, expected: set[int]) -> AsyncIterator[None]:
    """Every answer, before, while and after, is one of those expected."""
    found: list[int] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            found.append(await status(port))

    task = asyncio.create_task(ask())
    try:
        await eventually("the first answer", lambda: bool(found))
        yield
        seen = len(found)
        await eventually("more answers", lambda: len(found) > seen + 20)
    finally:
        stop.set()
        await task
    assert set(found) == expected
