"""The store of several control planes on a real API server: conformance, writers at once, a server that is away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from tools.kubernetes_cluster import ApiCluster

from conformance import test_store as conformance
from conformance.test_store import KEEP, Clock, clock
from support.kubernetes import Api
from weft.ca.authority import open_authority
from weft.ca.rotation import Phase
from weft.controlplane.shared_directory import SharedFiles
from weft.controlplane.shared_state import AUTHORITY_FILES
from weft.settings.private import write_atomically
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.shared.repository import TYPE, SecretRepository
from weft.sources.kubernetes.shared.secret import VersionedSecret
from weft.store.protocol import ConflictError, Put, Store, StoreError
from weft.store.sealing.wrappers import KEY_FILE, FileWrapper, KeyWrapError
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


async def test_files_that_two_change_at_once(cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path) -> None:
    """Both begin at the same moment with a file of their own, and then each adds to it."""
    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin")), "test").access)
    homes = [tmp_path / name for name in ("one", "two")]
    async with ApiClient(credentials) as client:
        secret = VersionedSecret(client, namespace, "weft-ca", "weft.dev/authority")
        both = [SharedFiles(secret, home / "ca", ("*.pem",)) for home in homes]

        def prepare(text: str) -> Callable[[Path], Awaitable[None]]:
            async def made(directory: Path) -> None:
                if not (directory / "root.pem").exists():
                    write_atomically(directory / "root.pem", text)

            return made

        await asyncio.gather(*(each.begin(prepare(text)) for each, text in zip(both, "ab", strict=True)))
        (begun,) = {(home / "ca" / "root.pem").read_text() for home in homes}
        assert begun in "ab"
        following = [asyncio.create_task(each.run()) for each in both]

        def add(directory: Path) -> None:
            path = directory / "root.pem"
            write_atomically(path, path.read_text() + "+")

        await asyncio.gather(*(each.change(add) for each in both for _ in range(5)))
        wanted = begun + 10 * "+"
        await eventually("both have it", lambda: {(home / "ca" / "root.pem").read_text() for home in homes} == {wanted})
        with pytest.raises(ValueError, match="no"):
            await both[0].change(_refuse)
        path = f"/api/v1/namespaces/{namespace}/secrets/weft-ca"
        held = await api.call("GET", path)
        assert base64.b64decode(held["data"]["root.pem"]).decode() == wanted
        held["data"]["ca.crt"] = "eA=="  # somebody else's
        await api.call("PUT", path, held)
        await both[1].change(add)
        assert (await api.call("GET", path))["data"]["ca.crt"] == "eA=="
        await api.call("DELETE", path)

        async def again() -> bool:
            return base64.b64decode((await api.call("GET", path))["data"]["root.pem"]).decode() == wanted + "+"

        await eventually("what was deleted is there again", again)
        for task in following:
            task.cancel()
        await asyncio.wait(following)
    assert [path.name for home in homes for path in home.iterdir()] == ["ca", "ca"], "no copy is left"
    assert {stat.S_IMODE((home / "ca").stat().st_mode) for home in homes} == {0o700}


def _refuse(directory: Path) -> None:
    write_atomically(directory / "root.pem", "never seen")
    raise ValueError("no")


async def test_keys_that_two_renew_are_never_lost(cluster: ApiCluster, namespace: str, tmp_path: Path) -> None:
    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin")), "test").access)
    async with ApiClient(credentials) as client:
        secret = VersionedSecret(client, namespace, "weft-keys", "weft.dev/keys")
        wrappers = []
        for name in ("one", "two"):
            files = SharedFiles(secret, tmp_path / name / "keys", (KEY_FILE,))

            async def prepare(directory: Path) -> None:
                if not (directory / KEY_FILE).exists():
                    await FileWrapper(directory / KEY_FILE).wrap(b"made")

            await files.begin(prepare)
            wrappers.append(FileWrapper(tmp_path / name / "keys" / KEY_FILE, files))
        one, two = wrappers
        wrapped = [await one.wrap(b"first")]
        assert await two.unwrap(wrapped[0]) == b"first"
        for each in (one, two, one):  # the other knows nothing of it yet
            await each.renew()
            wrapped.append(await each.wrap(b"first"))
        for each in wrappers:
            assert [await each.unwrap(text) for text in wrapped] == [b"first"] * 4
        await one.retire()
        assert await two.unwrap(wrapped[3]) == b"first"
        late = FileWrapper(tmp_path / "two" / "keys" / KEY_FILE, files)
        assert await late.unwrap(wrapped[3]) == b"first"
        with pytest.raises(KeyWrapError):
            await late.unwrap(wrapped[0])


async def test_a_secret_that_was_there_before_is_taken(
    cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    """The authority of a home, as `kubectl create secret generic --from-file` puts it there."""
    first = open_authority(tmp_path / "before", "cluster.local")
    data = {path.name: base64.b64encode(path.read_bytes()).decode() for path in (tmp_path / "before").iterdir()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weft-ca"}, "data": data}
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", body)
    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin")), "test").access)
    async with ApiClient(credentials) as client:
        secret = VersionedSecret(client, namespace, "weft-ca", "weft.dev/authority")
        files = SharedFiles(secret, tmp_path / "after", AUTHORITY_FILES, last="rotation.json")

        async def prepare(directory: Path) -> None:
            open_authority(directory, "cluster.local")

        await files.begin(prepare)
        authority = open_authority(tmp_path / "after", "cluster.local", shared=files)
        assert authority.fingerprint == first.fingerprint
        files.told.append(authority.reload)
        await authority.change(lambda one: one.begin_rotation())
        assert authority.rotation.phase is Phase.TRUSTING
    found = (await api.call("GET", f"/api/v1/namespaces/{namespace}/secrets/weft-ca"))["data"]
    assert {"root.pem", "root-2.pem", "rotation.json", "serial"} <= found.keys()
