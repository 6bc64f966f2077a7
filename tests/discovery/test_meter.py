"""What the hub tells a meter: what it sends, what is refused, and when everybody has answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from support.discovery import TableCompiler, layer, resource
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.peer import Peer
from weft.discovery.stream import Ending, StreamEndedError
from weft.model.identity import SpiffeId
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.snapshot import CLUSTER, LISTENER, ResourceSet

Table = dict[str, tuple[ResourceSet, ...]]
WORKLOAD = Workload("web", "shop", "web")


def table(version: str) -> Table:
    return {"web.shop": (layer(resource(CLUSTER, "a", version), resource(LISTENER, "l", version)),)}


@dataclass
class Notes:
    """A meter that writes down."""

    sizes: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    lost: int = 0

    def sent(self, type_url: str, size: int) -> None:
        self.sizes[type_url] += size

    def refused(self, type_url: str) -> None:
        self.refusals.append(type_url)

    def converged(self, seconds: float) -> None:
        self.took.append(seconds)

    def given_up(self) -> None:
        self.lost += 1


class Client:
    """A delta client that answers when it is told to; what it `refuses` it answers with an error."""

    def __init__(self, hub: Hub[Table]) -> None:
        identity = SpiffeId("cluster.local", "shop", "web")
        self.stream = hub.attach(Peer("web.shop", identity, time.time() + 3600), WORKLOAD, delta=True)
        self.hub = hub
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.answers = asyncio.Event()
        self.answers.set()
        self.refuses = ""
        for kind in (CLUSTER, LISTENER):
            self.requests.put_nowait(DeltaDiscoveryRequest(type_url=kind).SerializeToString())
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        with contextlib.suppress(StreamEndedError):
            await self.stream.run(self.requests.get, self.write)
        self.hub.detach(self.stream)

    async def write(self, body: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(body)
        task = asyncio.create_task(self.answer(response))
        task.add_done_callback(lambda _: None)

    async def answer(self, response: DeltaDiscoveryResponse) -> None:
        await self.answers.wait()
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if self.refuses == response.type_url:
            request.error_detail.message = "no"
        self.requests.put_nowait(request.SerializeToString())


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Hub[Table], Client, Notes]]:
    notes = Notes()
    hub: Hub[Table] = Hub(TableCompiler(), limits=Limits(restart=0, reconnect=0), meter=notes)
    await hub.publish(table("1"), {"web.shop": WORKLOAD}, 1)
    client = Client(hub)
    await eventually("loaded", lambda: client.stream.is_quiet and client.stream.loaded)
    yield hub, client, notes
    client.stream.end(Ending("UNAVAILABLE", "the test is over"))
    await client.task


async def test_a_publication_converges_with_the_last_answer() -> None:
    async with served() as (hub, client, notes):
        assert hub.streams == 1
        assert notes.sizes.keys() == {CLUSTER, LISTENER}
        assert notes.took == []
        client.answers.clear()
        second = table("2")
        await hub.publish(second, {"web.shop": WORKLOAD}, 2)
        await eventually("it is sent", lambda: client.stream.unanswered_since is not None)
        hub.inspect()
        assert notes.took == []
        client.answers.set()
        await eventually("it has converged", lambda: len(notes.took) == 1)
        await hub.publish(second, {"web.shop": WORKLOAD}, 3)
        assert len(notes.took) == 1, "nobody is concerned"


async def test_a_refusal_is_counted_and_is_an_answer() -> None:
    async with served() as (hub, client, notes):
        client.refuses = CLUSTER
        await hub.publish(table("2"), {"web.shop": WORKLOAD}, 2)
        await eventually("it has converged", lambda: len(notes.took) == 1)
        assert notes.refusals == [CLUSTER]


async def test_who_leaves_is_not_waited_for() -> None:
    async with served() as (hub, client, notes):
        client.answers.clear()
        await hub.publish(table("2"), {"web.shop": WORKLOAD}, 2)
        await eventually("it is sent", lambda: client.stream.unanswered_since is not None)
        client.requests.put_nowait(None)
        await client.task
        assert len(notes.took) == 1
        client.answers.set()
