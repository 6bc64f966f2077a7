"""The store of several control planes on a real API server: conformance, writers at once, a server that is away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from tools.kubernetes_cluster import ApiCluster

from conformance import test_store as conformance
from conformance.test_store import KEEP, Clock, clock
from support.kubernetes import Api
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.shared.repository import TYPE, SecretRepository
from weft.store.protocol import ConflictError, Put, Store, StoreError
from weft.store.shared.log import USUAL, Sizes
from weft.store.shared.store import SharedStore
from weft.testing.polling import eventually

SMALL = Sizes(tail=300, parts=2)
__all__ = ["clock"]
globals().update({name: test for name, test in vars(conformance).items() if name.startswith("test_")})


@contextlib.asynccontextmanager
async def shared(
    kubeconfig: Path,
    namespace: str,
    *names: str,
    clock: Callable[[], float] = time.time,
    keep: int = 4096,
    sizes: Sizes = USUAL,
) -> AsyncIterator[Sequence[SharedStore]]:
    credentials = Credentials(KubeconfigFile(str(kubeconfig), "test").access)
    async with ApiClient(credentials) as client:
        stores = [SharedStore(SecretRepository(client, namespace), name, clock, keep, sizes) for name in names]
        try:
            for each in stores:
                await each.open()
            yield stores
        finally:
            for each in stores:
                await each.close()


@pytest.fixture
async def store(cluster: ApiCluster, namespace: str, clock: Clock) -> AsyncIterator[Store]:
    admin = cluster.kubeconfig("admin")
    async with shared(admin, namespace, "one", clock=clock, keep=KEEP, sizes=SMALL) as (store,):
        yield store


async def count(store: SharedStore, key: str, times: int) -> None:
    for _ in range(times):
        while True:
            entry = await store.get("b", key)
            value, revision = (int(entry.value), entry.revision) if entry is not None else (0, 0)
            with contextlib.suppress(ConflictError):
                await store.write([Put("b", key, str(value + 1).encode())], {("b", key): revision})
                break


async def test_writers_at_once_lose_nothing(cluster: ApiCluster, api: Api, namespace: str) -> None:
    admin = cluster.kubeconfig("admin")
    async with shared(admin, namespace, "one", "two", "three", sizes=Sizes(2000, 5)) as stores:
        await asyncio.gather(*(count(each, key, 20) for each in stores for key in "xyz"))
        for each in stores:
            await eventually("all see all", functools.partial(_revision, each, 180))
            assert [entry.value for entry in (await each.list("b"))[1]] == [b"60"] * 3
        await stores[0].forget()
        async with shared(admin, namespace, "late") as (late,):
            assert await late.list("b") == await stores[0].list("b")
    found = (await api.call("GET", f"/api/v1/namespaces/{namespace}/secrets"))["items"]
    assert {each["type"] for each in found} == {TYPE}
    assert len(found) <= 6, [each["metadata"]["name"] for each in found]


async def _revision(store: SharedStore, wanted: int) -> bool:
    return (await store.list("b"))[0] == wanted


async def test_a_server_that_is_away(cluster: ApiCluster, namespace: str) -> None:
    admin = cluster.kubeconfig("admin")
    async with shared(admin, namespace, "one", "two") as (one, two):
        confirmed = await one.write([Put("b", "k", b"before")])
        await asyncio.to_thread(cluster.kill_api_server)
        try:
            with pytest.raises(StoreError, match=r"no connection can be made|the connection broke"):
                await one.write([Put("b", "k", b"lost")])
            entry = await one.get("b", "k")
            assert entry is not None
            assert (entry.value, entry.revision) == (b"before", confirmed)
        finally:
            await asyncio.to_thread(cluster.start_api_server)

        async def written() -> bool:
            with contextlib.suppress(StoreError):
                await one.write([Put("b", "k", b"after")])
                return True
            return False

        await eventually("it can be written again", written)
        await eventually("the other hears of it", lambda: _has(two, b"after"))


async def _has(store: SharedStore, value: bytes) -> bool:
    entry = await store.get("b", "k")
    return entry is not None and entry.value == value


async def test_what_it_may_not_do_is_said(cluster: ApiCluster, namespace: str) -> None:
    account = cluster.account("stateless", [])
    with pytest.raises(StoreError, match=r"403.*expected a Role that allows get of secrets in namespace"):
        async with shared(account, namespace, "one"):
            pass
