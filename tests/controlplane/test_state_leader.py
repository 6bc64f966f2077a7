"""Who leads for a shared state: from when on it bids, how it ends, and how who waits for its turn hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from weft.controlplane.state_leader import StateLeader
from weft.sources.kubernetes.client import JSON, Answer, ApiClient, ApiError
from weft.sources.kubernetes.election import Terms
from weft.telemetry.metrics import Registry
from weft.testing.polling import eventually

QUICK = Terms(lasting=2, deadline=1.0, retry=0.02)


class OneLease(ApiClient):
    """An API server that has one Lease, or none."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {}
        self._version = 0

    async def get(self, path: str, accept: str = JSON, tag: str = "") -> Answer:
        """The Lease."""
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
async def running(leader: StateLeader) -> AsyncIterator[None]:
    task = asyncio.create_task(leader.run())
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
    async with running(starting):
        working.begin()
        async with running(working):
            await eventually("the one that works leads", working.leads)
            assert not starting.leads()
        assert server.holder() == "", "it is given back"
        starting.begin()
        await eventually("it works, and leads", starting.leads)
    assert server.holder() == ""


async def test_one_that_ends_before_it_works_has_written_nothing() -> None:
    server = OneLease()
    async with running(candidate(server, "starting")):
        await asyncio.sleep(0)
    assert server.lease == {}
