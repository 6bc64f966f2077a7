"""Who leads for a shared state: from when on it bids, how it ends, and how who waits for its turn hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

from weft.ca.authority import INTERMEDIATE_LIFE, open_authority, run_rotation
from weft.ca.issued import BUCKET, Certificate, list_certificates, put_certificate
from weft.ca.protocol import AuthorityError, Signed
from weft.controlplane.distrust import DistrustKeeper
from weft.controlplane.shared_directory import SharedFiles
from weft.controlplane.shared_state import SharedState, leads_for, rest_for
from weft.controlplane.state_leader import StateLeader
from weft.controlplane.upstream import UpstreamKeeper
from weft.model.snapshot import MeshSettings
from weft.sources.collector import Collector
from weft.sources.kubernetes.client import JSON, Answer, ApiClient, ApiError
from weft.sources.kubernetes.election import Terms
from weft.sources.kubernetes.shared.secret import VersionedSecret
from weft.store.memory import MemoryStore
from weft.telemetry.metrics import Registry
from weft.testing.polling import eventually

QUICK = Terms(lasting=2, deadline=1.0, retry=0.02)


class OneLease(ApiClient):
    """An API server that has one Lease, or none."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {}
        self.looks = 0
        self._version = 0

    async def get(self, path: str, accept: str = JSON, tag: str = "") -> Answer:
        """The Lease."""
        self.looks += 1
        if not self.lease:
            raise ApiError("there is none", 404)
        return Answer(json.dumps(self.lease).encode())

    async def send(
        self, method: str, path: str, body: bytes = b"", content: str = JSON, query: Mapping[str, str] | None = None
    ) -> bytes:
        """Replace it, by who has its version."""
        new = json.loads(body)
        if new["metadata"].get("resourceVersion", "") != (str(self._version) if self.lease else ""):
            raise ApiError("another was faster", 409)
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self.lease = new
        return json.dumps(new).encode()

    def holder(self) -> str:
        """Whom it names; empty: nobody."""
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def candidate(server: OneLease, name: str) -> StateLeader:
    return StateLeader(server, "weft-system", name, Registry(), QUICK)


async def test_one_that_only_starts_leaves_the_lease_to_others() -> None:
    server = OneLease()
    starting, working = candidate(server, "starting"), candidate(server, "working")
    async with running(starting.run()):
        working.begin()
        async with running(working.run()):
            await eventually("the one that works leads", working.leads)
            assert not starting.leads()
        assert server.holder() == "", "it is given back"
        starting.begin()
        await eventually("it works, and leads", starting.leads)
    assert server.holder() == ""


async def test_one_that_ends_before_it_works_has_written_nothing() -> None:
    server = OneLease()
    async with running(candidate(server, "starting").run()):
        await asyncio.sleep(0)
    assert server.lease == {}


class Away:
    """Somebody above who does not answer; how often it was asked."""

    name = "the signer"

    def __init__(self) -> None:
        self.asked = 0

    async def sign(self, csr: str, life: float) -> Signed:
        """Nothing."""
        raise AuthorityError("it is away")

    async def roots(self) -> str:
        """Nothing."""
        self.asked += 1
        raise AuthorityError("it is away")


async def test_who_comes_to_lead_looks_at_once_at_what_is_to_be_done(tmp_path: Path) -> None:
    """Whoever led before may have been killed when it was due: nobody waits for an hour then."""
    server, store, authority, above = OneLease(), MemoryStore(), open_authority(tmp_path / "ca"), Away()
    now = time.time()
    due = open_authority(tmp_path / "due", clock=lambda: now)
    expired = Certificate("1", "shop", "", now - 20, now - 10)
    await store.write([put_certificate(None, "default/shop", expired, now - 15)])
    before, after = candidate(server, "before"), candidate(server, "after")
    files = SharedFiles(VersionedSecret(server, "weft-system", "weft-ca", "weft.dev/authority"), tmp_path, ())
    shared = SharedState(files, files, after, server, "weft-system")
    leads, rest = leads_for(shared), rest_for(shared)
    forgets = DistrustKeeper(store, Collector([], MeshSettings()), leads, sleep=rest)
    asks = UpstreamKeeper(above, authority, 1.0, leads, sleep=rest)
    first = due.expiries()["intermediate"]
    now += INTERMEDIATE_LIFE / 2 + 3600

    async def done() -> bool:
        forgotten = not await list_certificates(store, BUCKET)
        return forgotten and above.asked > 0 and due.expiries()["intermediate"] > first

    async with contextlib.AsyncExitStack() as stack:
        for work in (after.run(), forgets.run(), asks.run(), run_rotation(due, leads, sleep=rest)):
            await stack.enter_async_context(running(work))
        async with running(before.run()):
            before.begin()
            await eventually("another leads", before.leads)
            after.begin()
            looks = server.looks
            await eventually("the other bids", lambda: server.looks > looks + 1)
            assert not after.leads()
            assert above.asked == 0
        await eventually("what is due is done", done)


async def test_rest_is_over_when_its_time_is() -> None:
    leader = candidate(OneLease(), "one")
    await asyncio.wait_for(leader.rest(0.01), 10)
    assert not leader.leads()
