"""The server from outside: who may connect, how, and what a client that misbehaves can do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from support.discovery import KeyPair, ProxyAuthority, TableCompiler, layer, openssl, resource
from weft.discovery.delta import DeltaSession
from weft.discovery.grpc_tls import grpc
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.server import SERVICE, serve_xds
from weft.discovery.stream import Ending
from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ResourceSet, XdsSnapshot

Table = Mapping[str, tuple[ResourceSet, ...]]
SERVER_URI = "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"
WORKLOADS = {name: Workload(name.split(".")[0], "shop", "web") for name in ("web.shop", "api.shop", "slow.shop")}
URI = "spiffe://cluster.local/ns/shop/sa/web"
Request = discovery_pb2.DeltaDiscoveryRequest
Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Fixture:
    """A hub, its server, and clients with certificates."""

    def __init__(self, limits: Limits) -> None:
        self.authority = ProxyAuthority()
        self.events: list[Problem] = []
        self.compiler = TableCompiler()
        self.hub: Hub[Table] = Hub(self.compiler, self.events.append, limits)
        self.material = self.authority.issue("weft-control-plane", SERVER_URI)
        self.port = 0
        self.channels: list[grpc.aio.Channel] = []

    async def publish(self, revision: int, version: str, *names: str, size: int = 10) -> None:
        table = {
            name: (layer(resource(CLUSTER, "a", version, body=b"x" * size), resource(LISTENER, "l", "1")),)
            for name in names or WORKLOADS
        }
        await self.hub.publish(table, WORKLOADS, revision)

    def pair(self, name: str = "web.shop", uri: str = URI, life: float = 3600) -> KeyPair:
        return self.authority.issue(name, uri, life)

    def connect(self, pair: KeyPair, *, delta: bool = True) -> Call:
        credentials = grpc.ssl_channel_credentials(
            self.authority.bundle.encode(), pair.key.encode(), pair.chain.encode()
        )
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options)
        self.channels.append(channel)
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        call: Call = channel.stream_stream(f"/{SERVICE}/{method}")()
        return call

    async def refusal(self, call: Call, request: Message | None) -> tuple[grpc.StatusCode, str]:
        """How the server ends the call. Where it does not wait for a request (None), writing one while it ends the call
        makes gRPC's client say INTERNAL."""
        if request is not None:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(request.SerializeToString())
        async with asyncio.timeout(60):
            return await call.code(), await call.details() or ""


def ask(type_url: str, node: str = "web.shop", nonce: str = "", error: str = "") -> Request:
    request = Request(type_url=type_url, node=base_pb2.Node(id=node), response_nonce=nonce)
    if error:
        request.error_detail.CopyFrom(status_pb2.Status(message=error))
    return request


async def response(call: Call) -> discovery_pb2.DeltaDiscoveryResponse:
    async with asyncio.timeout(60):
        raw = await call.read()
    assert isinstance(raw, bytes), "the stream ended"
    return discovery_pb2.DeltaDiscoveryResponse.FromString(raw)


async def load(call: Call, node: str = "web.shop") -> None:
    """Subscribe to clusters and listeners and accept both."""
    for kind in (CLUSTER, LISTENER):
        await call.write(ask(kind, node).SerializeToString())
        got = await response(call)
        await call.write(ask(kind, node, got.nonce).SerializeToString())


@contextlib.asynccontextmanager
async def running(limits: Limits | None = None) -> AsyncIterator[Fixture]:
    fixture = Fixture(limits or Limits(restart=0))
    server = serve_xds("127.0.0.1", 0, material=lambda: fixture.material, hub=fixture.hub, lookup=WORKLOADS.get)
    try:
        async with server as fixture.port:
            yield fixture
    finally:
        for channel in fixture.channels:
            await channel.close()


@pytest.fixture
async def fixture() -> AsyncIterator[Fixture]:
    async with running() as made:
        await made.publish(1, "1")
        yield made


async def test_the_stream_of_a_machine_that_is_gone_ends() -> None:
    """Nothing comes from there any more, not even that the connection is closed."""
    async with running(Limits(restart=0, keepalive=0.2, keepalive_timeout=2)) as fixture:
        await fixture.publish(1, "1")
        real, gone = fixture.port, asyncio.Event()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 16):
                if not gone.is_set():
                    writer.write(data)
            writer.close()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_connection("127.0.0.1", real)
            await asyncio.gather(relay(reader, forth), relay(back, writer))

        await load(fixture.connect(fixture.pair("api.shop")), "api.shop")
        async with await asyncio.start_server(accept, "127.0.0.1", 0) as machine:
            fixture.port = machine.sockets[0].getsockname()[1]
            await load(fixture.connect(fixture.pair()))
            assert set(fixture.hub.connected()) == {"web.shop", "api.shop"}
            gone.set()
            await eventually("its stream has ended", lambda: "web.shop" not in fixture.hub.connected())
        assert set(fixture.hub.connected()) == {"api.shop"}, "who answers is not cut off"


async def test_two_proxies_are_confirmed_one_refuses(fixture: Fixture) -> None:
    web, api = fixture.connect(fixture.pair()), fixture.connect(fixture.pair("api.shop"))
    await load(web)
    await load(api, "api.shop")
    waiting = asyncio.create_task(fixture.hub.wait_revision(2, 10))
    await fixture.publish(2, "2")
    got = await response(web)
    await web.write(ask(CLUSTER, nonce=got.nonce).SerializeToString())
    got = await response(api)
    assert not waiting.done()
    await api.write(ask(CLUSTER, "api.shop", got.nonce, "Error adding/updating cluster(s) a: no").SerializeToString())
    result = await waiting
    assert result.confirmed == ("web.shop",)
    assert [(nack.proxy, nack.type, nack.resource) for nack in result.nacked] == [("api.shop", "Cluster", "a")]
    assert str(result.nacked[0].origins[0]) == "a.yaml:7"
    assert [event.code for event in fixture.events] == ["nack"]
    statuses = {status.name: status for status in fixture.hub.proxies()}
    assert statuses["api.shop"].last_nack is not None
    assert (statuses["web.shop"].revision_acked, statuses["web.shop"].variant) == (2, "delta")
    await fixture.publish(3, "3", "api.shop", "slow.shop", "web.shop")
    await response(api)
    assert fixture.hub.problems() == (), "the refused version is no longer wanted"


async def test_only_changed_proxies_are_waited_for_and_only_connected_ones_are_built(fixture: Fixture) -> None:
    web = fixture.connect(fixture.pair())
    await load(web)
    await eventually("loaded", lambda: fixture.hub.proxies()[0].revision_acked == 1)
    same = fixture.hub.given_to("web.shop")
    assert isinstance(same, XdsSnapshot)
    fixture.compiler.compiled.clear()
    await fixture.hub.publish({"web.shop": same.layers}, WORKLOADS, 2)
    result = await fixture.hub.wait_revision(2, 5)
    assert (result.confirmed, result.pending, result.published) == ((), (), True)
    assert fixture.compiler.compiled == ["web.shop"]
    assert fixture.hub.proxies()[0].revision_acked == 2


async def test_a_step_on_the_way_to_a_revision_is_part_of_it(fixture: Fixture) -> None:
    web = fixture.connect(fixture.pair())
    await load(web)
    await eventually("loaded", lambda: fixture.hub.proxies()[0].revision_acked == 1)
    await fixture.publish(1, "2")
    assert not await fixture.hub.settled(0.0)
    same = fixture.hub.given_to("web.shop")
    assert isinstance(same, XdsSnapshot)
    await fixture.hub.publish({"web.shop": same.layers}, WORKLOADS, 2)
    assert (await fixture.hub.wait_revision(2, 0.0)).pending == ("web.shop",)
    got = await response(web)
    await web.write(ask(CLUSTER, nonce=got.nonce).SerializeToString())
    assert (await fixture.hub.wait_revision(2, 10)).confirmed == ("web.shop",)
    assert await fixture.hub.settled(10)


async def test_wait_names_who_did_not_answer_and_who_left() -> None:
    async with running(Limits(reconnect=0.05, restart=0)) as fixture:
        await fixture.publish(1, "1")
        web, api = fixture.connect(fixture.pair()), fixture.connect(fixture.pair("api.shop"))
        await load(web)
        await load(api, "api.shop")
        assert not (await fixture.hub.wait_revision(2, 0.05)).published
        await fixture.publish(2, "2")
        api.cancel()
        await eventually("one has left", lambda: "api.shop" not in fixture.hub.connected())
        result = await fixture.hub.wait_revision(2, 1)
        assert (result.pending, result.gone, result.confirmed) == (("web.shop",), ("api.shop",), ())


async def test_a_proxy_that_is_about_to_come_back_is_waited_for() -> None:
    async with running(Limits(reconnect=20, restart=20)) as fixture:
        await fixture.publish(1, "1")
        waiting = asyncio.create_task(fixture.hub.wait_revision(1, 20))
        web = fixture.connect(fixture.pair())
        await load(web)
        assert not waiting.done()
        api = fixture.connect(fixture.pair("api.shop"))
        await load(api, "api.shop")
        slow = fixture.connect(fixture.pair("slow.shop"))
        await load(slow, "slow.shop")
        assert (await waiting).confirmed == ("api.shop", "slow.shop", "web.shop")
        web.cancel()
        await eventually("web has left", lambda: len(fixture.hub.proxies()) == 2)
        await fixture.publish(2, "2", "web.shop")
        assert (await fixture.hub.wait_revision(2, 0.01)).pending == ("web.shop",)


async def test_a_build_that_fails_stops_nobody_else(fixture: Fixture) -> None:
    web, api = fixture.connect(fixture.pair()), fixture.connect(fixture.pair("api.shop"))
    await load(web)
    await load(api, "api.shop")
    await fixture.publish(2, "2", "api.shop")
    assert (await response(api)).resources[0].version == "2"
    assert [problem.code for problem in fixture.hub.problems()] == ["build-failed"]
    await fixture.publish(3, "3")
    assert (await response(web)).resources[0].version == "3"
    assert fixture.hub.problems() == ()


@pytest.mark.parametrize(
    ("name", "uri", "node", "words"),
    [
        ("web.shop", URI, "api.shop", "does not match"),
        ("web.shop", URI, "", "does not match"),
        ("ghost.shop", URI, "ghost.shop", "no workload"),
        ("web.shop", "spiffe://cluster.local/ns/shop/sa/other", "web.shop", "service account"),
        ("web.shop", "spiffe://cluster.local/ns/other/sa/web", "web.shop", "service account"),
        ("web.shop", "http://example.org", "web.shop", "not an identity"),
        ("web.shop", f"{URI} {URI}2", "web.shop", "2 URI names"),
        ("web.shop", "", "web.shop", "0 URI names"),
    ],
)
async def test_identities_that_are_refused(fixture: Fixture, name: str, uri: str, node: str, words: str) -> None:
    for delta in (True, False):
        call = fixture.connect(fixture.pair(name, uri), delta=delta)
        sotw = discovery_pb2.DiscoveryRequest(type_url=CLUSTER, node=base_pb2.Node(id=node))
        code, details = await fixture.refusal(call, None if "URI" in words else ask(CLUSTER, node) if delta else sotw)
        assert code == grpc.StatusCode.PERMISSION_DENIED, details
        assert words in details
    assert [event.code for event in fixture.events] == ["identity-refused"], "reported once"
    assert len(fixture.hub.problems()) == 1
    assert fixture.hub.proxies() == ()


async def test_node_id_cannot_change_later(fixture: Fixture) -> None:
    call = fixture.connect(fixture.pair())
    await load(call)
    code, _ = await fixture.refusal(call, ask(ENDPOINTS, "api.shop"))
    assert code == grpc.StatusCode.PERMISSION_DENIED


async def test_foreign_and_missing_certificates_do_not_get_through(fixture: Fixture) -> None:
    foreign = ProxyAuthority().issue("web.shop", URI)
    code, _ = await fixture.refusal(fixture.connect(foreign), ask(CLUSTER))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert await openssl(fixture.port, None, "-tls1_3") == "refused"
    assert fixture.hub.problems() == ()


async def test_tls_1_3_only(fixture: Fixture, tmp_path: Path) -> None:
    pair = fixture.pair()
    (tmp_path / "key.pem").write_text(pair.key)
    (tmp_path / "chain.pem").write_text(pair.chain)
    assert await openssl(fixture.port, tmp_path, "-tls1_2") == "refused"
    assert await openssl(fixture.port, tmp_path, "-tls1_2", "-cipher", "ALL:@SECLEVEL=0") == "refused"
    assert await openssl(fixture.port, tmp_path) == "TLSv1.3"


async def test_renewed_certificates_serve_new_connections_and_keep_old_ones(fixture: Fixture) -> None:
    old = fixture.connect(fixture.pair())
    await load(old)
    fixture.authority = ProxyAuthority()
    fixture.material = fixture.authority.issue("weft-control-plane", SERVER_URI)
    new = fixture.connect(fixture.pair("api.shop"))
    await load(new, "api.shop")
    await fixture.publish(2, "2")
    assert (await response(old)).resources[0].version == "2"
    assert (await response(new)).resources[0].version == "2"


async def test_stream_ends_with_its_certificate(fixture: Fixture) -> None:
    call = fixture.connect(fixture.pair(life=4))
    await load(call)
    async with asyncio.timeout(60):
        assert await call.code() == grpc.StatusCode.UNAUTHENTICATED
    code, details = await fixture.refusal(fixture.connect(fixture.pair(life=-1)), ask(CLUSTER))
    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED}, details


async def test_newer_stream_of_a_proxy_takes_over(fixture: Fixture) -> None:
    first, second = fixture.connect(fixture.pair()), fixture.connect(fixture.pair())
    await load(first)
    await load(second)
    async with asyncio.timeout(60):
        assert await first.code() == grpc.StatusCode.ABORTED
    assert len(fixture.hub.proxies()) == 1


@pytest.mark.parametrize("connects_first", [False, True])
async def test_a_name_that_passes_to_another_identity(
    fixture: Fixture, connects_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither holder is given what is the other's, in whichever order the build and the new stream come."""
    table = {name: (layer(resource(CLUSTER, "a", "2"), resource(LISTENER, "l", "1")),) for name in WORKLOADS}
    await fixture.hub.publish(table, dict(WORKLOADS), 2)
    heir = dataclasses.replace(WORKLOADS["web.shop"], service_account="heir")
    former = fixture.connect(fixture.pair())
    await load(former)
    monkeypatch.setitem(WORKLOADS, "web.shop", heir)
    expected = {grpc.StatusCode.PERMISSION_DENIED}
    if connects_first:
        compiled = len(fixture.compiler.compiled)
        await load(fixture.connect(fixture.pair(uri="spiffe://cluster.local/ns/shop/sa/heir")))
        assert fixture.compiler.workloads[compiled:] == [heir]
        expected = {grpc.StatusCode.ABORTED}
    await fixture.hub.publish(table, dict(WORKLOADS), 3)
    async with asyncio.timeout(60):
        assert await former.code() in expected
    assert len(fixture.hub.proxies()) == connects_first


async def test_flood_garbage_and_giants_end_the_stream() -> None:
    async with running(Limits(request_burst=20, request_rate=0.01, message_bytes=10_000)) as fixture:
        await fixture.publish(1, "1")
        call = fixture.connect(fixture.pair())
        for _ in range(21):
            await call.write(ask(ENDPOINTS).SerializeToString())
        async with asyncio.timeout(60):
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [problem.code for problem in fixture.hub.problems()] == ["flood"]
        again = fixture.connect(fixture.pair())
        assert (await fixture.refusal(again, ask(CLUSTER)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        garbage = fixture.connect(fixture.pair("api.shop"))
        await garbage.write(b"\xff\xff\xff")
        assert await garbage.code() == grpc.StatusCode.INVALID_ARGUMENT
        giant = fixture.connect(fixture.pair("api.shop"))
        request = ask(CLUSTER, "api.shop")
        request.resource_names_subscribe.append("x" * 20_000)
        assert (await fixture.refusal(giant, request))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_names_count_over_reconnections() -> None:
    """A proxy that asks for a great many names, leaves and comes again, is refused before it keeps us busy."""
    async with running(Limits(request_burst=20, request_rate=1)) as fixture:
        await fixture.publish(1, "1")
        many = Request(
            type_url=ENDPOINTS,
            node=base_pb2.Node(id="web.shop"),
            resource_names_subscribe=[f"cluster-{number}" for number in range(4000)],
        )
        first = fixture.connect(fixture.pair())
        await first.write(many.SerializeToString())
        await response(first)
        first.cancel()
        code, details = await fixture.refusal(fixture.connect(fixture.pair()), many)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, details
        other = fixture.connect(fixture.pair("api.shop"))
        await load(other, "api.shop")


@pytest.mark.parametrize("method", ["next", "receive"])
async def test_a_fault_of_ours_ends_the_stream_and_is_told(
    fixture: Fixture, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = fixture.connect(fixture.pair())
    await load(call)
    await eventually("loaded", lambda: fixture.hub.proxies()[0].revision_acked == 1)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(DeltaSession, method, fails)
    request = ask(ENDPOINTS)
    request.resource_names_subscribe.append("a")
    assert (await fixture.refusal(call, request))[0] == grpc.StatusCode.INTERNAL
    await eventually("detached", lambda: fixture.hub.proxies() == ())
    assert [event.code for event in fixture.events] == ["internal-error"]


async def test_a_stream_that_the_server_ends_leaves_no_cycle(fixture: Fixture) -> None:
    """Full collections are rare: a cycle would hold a session and its snapshot for hours."""
    for ending in (Ending("UNAUTHENTICATED", "expired"), Ending("UNAVAILABLE", "does not read", "stuck")):
        call = fixture.connect(fixture.pair())
        await load(call)
        (stream,) = fixture.hub._roster
        reference = weakref.ref(stream)
        gc.collect()
        gc.disable()
        try:
            stream.end(ending)
            del stream
            await eventually("detached", lambda: not fixture.hub.connected())
            await eventually(f"the stream is freed after {ending}", lambda: reference() is None)  # noqa: B023
        finally:
            gc.enable()


async def test_limit_of_streams() -> None:
    async with running(Limits(streams=1)) as fixture:
        await fixture.publish(1, "1")
        await load(fixture.connect(fixture.pair()))
        code, _ = await fixture.refusal(fixture.connect(fixture.pair("api.shop")), ask(CLUSTER, "api.shop"))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_names_of_others_are_absent_and_become_a_problem() -> None:
    async with running(Limits(not_entitled=0.5)) as fixture:
        await fixture.publish(1, "1")
        call = fixture.connect(fixture.pair())
        request = ask(ENDPOINTS)
        request.resource_names_subscribe.append("of-another")
        await call.write(request.SerializeToString())
        got = await response(call)
        assert (list(got.resources), list(got.removed_resources)) == ([], ["of-another"])
        await eventually("a problem", lambda: bool(fixture.hub.problems()))
        assert [problem.code for problem in fixture.hub.problems()] == ["not-entitled"]


async def test_client_that_does_not_read_delays_nobody_and_is_cut() -> None:
    async with running(Limits(write=1.0, response_bytes=64 << 20)) as fixture:
        await fixture.publish(1, "1", size=32 << 20)
        slow, web = fixture.connect(fixture.pair("slow.shop")), fixture.connect(fixture.pair())
        await slow.write(ask(CLUSTER, "slow.shop").SerializeToString())
        await web.write(ask(LISTENER).SerializeToString())
        assert (await response(web)).type_url == LISTENER
        await eventually("both are connected", lambda: len(fixture.hub.proxies()) == 2)
        await eventually("slow is cut", lambda: [status.name for status in fixture.hub.proxies()] == ["web.shop"])
        assert [problem.code for problem in fixture.hub.problems()] == ["stuck"]
        slow.cancel()


async def test_stop_is_quick_and_tells_clients() -> None:
    async with running() as fixture:
        await fixture.publish(1, "1")
        calls = [fixture.connect(fixture.pair()), fixture.connect(fixture.pair("api.shop"))]
        await load(calls[0])
        await load(calls[1], "api.shop")
        channels, fixture.channels = fixture.channels, []
        ends = [asyncio.create_task(call.code()) for call in calls]
    async with asyncio.timeout(60):
        assert await asyncio.gather(*ends) == [grpc.StatusCode.UNAVAILABLE] * 2
    for channel in channels:
        await channel.close()


async def test_streams_before_the_first_publication_wait_for_it() -> None:
    async with running() as fixture:
        call = fixture.connect(fixture.pair())
        await call.write(ask(CLUSTER).SerializeToString())
        await fixture.publish(1, "1")
        assert (await response(call)).resources[0].name == "a"
