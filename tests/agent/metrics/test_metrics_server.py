"""The server of the metrics: whom it answers, in plain and over TLS, and what bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.loopback import Connection
from weft.agent.certificates import CertificateFiles
from weft.agent.keys import make_key
from weft.agent.metrics import server as server_module
from weft.agent.metrics.server import Answer, Headers, MetricsServer, Pages, Reply, bind
from weft.ca.authority import Authority, open_authority
from weft.model.identity import SpiffeId
from weft.model.workload import SocketAddress
from weft.testing.polling import eventually

LOCAL = "Host: 127.0.0.1:1"


async def answer(accept: str) -> tuple[str, bytes]:
    return "text/plain", f"accepts {accept}\n".encode() * 300


def installed(directory: Path, authority: Authority, account: str = "web") -> CertificateFiles:
    directory.mkdir()
    files = CertificateFiles(directory)
    files.prepare()
    fresh = make_key()
    identity = SpiffeId(authority.trust_domain, "default", account)
    files.install(fresh.key, authority.issue(fresh.csr, identity, f"{account}.default"))
    return files


@contextlib.asynccontextmanager
async def serving(files: CertificateFiles, *, plain: bool, answer: Answer = answer) -> AsyncIterator[int]:
    bound = bind(SocketAddress("127.0.0.1", 0))
    assert bound is not None
    server = MetricsServer(bound, files, answer)
    server._plain = plain  # another address than loopback is not to be had in every place where tests run
    task = asyncio.create_task(server.run())
    try:
        yield bound.getsockname()[1]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return open_authority(tmp_path / "ca")


def client(files: CertificateFiles | None, bundle: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(bundle)
    if files is not None:
        context.load_cert_chain(files.chain, files.key)
    return context


async def test_on_loopback_anybody_of_this_host_is_answered(tmp_path: Path, authority: Authority) -> None:
    async with serving(installed(tmp_path / "web", authority), plain=True) as port:
        for path in ("/metrics", "/stats/prometheus"):
            async with Connection(port) as ask:
                found = await ask.request(path, "localhost:1", "Accept: application/x")
            assert (found.status, found.headers["content-type"]) == (200, "text/plain")
            assert found.body.startswith(b"accepts application/x\n")
        async with Connection(port) as ask:
            found = await ask.request("/metrics", "127.0.0.1", "Accept-Encoding: gzip")
        assert gzip.decompress(found.body).startswith(b"accepts")


async def test_in_a_pod_pages_are_answered_beside_the_metrics_in_plain_and_nothing_else(tmp_path: Path) -> None:
    async def page(headers: Headers) -> Reply:
        return Reply("418 Told", headers["user-agent"])

    bound = bind(SocketAddress("127.0.0.1", 0))
    assert bound is not None
    server = MetricsServer(bound, CertificateFiles(tmp_path), answer, Pages({"/app-health/web/livez": page}))
    task = asyncio.create_task(server.run())
    expected = {"/metrics": 200, "/app-health/web/livez": 418, "/app-health/web/livez/": 404, "/app-health/web": 404}
    try:
        for path, status in expected.items():
            async with Connection(bound.getsockname()[1]) as ask:
                found = await ask.request(path, "10.0.0.1:15020", "User-Agent: kube-probe/1.37")
            assert found.status == status, path
            assert status != 418 or found.body == b"kube-probe/1.37\n"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("path", "host", "method", "status"),
    [
        ("/metrics", "evil.example", "GET", 421),
        ("/metrics", "evil.example:15020", "GET", 421),
        ("/config_dump", "localhost", "GET", 404),
        ("/stats", "localhost", "GET", 404),
        ("/metrics", "localhost", "POST", 405),
    ],
)
async def test_nothing_else_is_answered(
    path: str, host: str, method: str, status: int, tmp_path: Path, authority: Authority
) -> None:
    async with serving(installed(tmp_path / "web", authority), plain=True) as port, Connection(port) as ask:
        assert (await ask.request(path, host, method=method)).status == status


async def test_off_loopback_a_certificate_of_the_mesh_is_asked_for(tmp_path: Path, authority: Authority) -> None:
    ours = installed(tmp_path / "web", authority)
    prometheus = installed(tmp_path / "prometheus", authority, "prometheus")
    async with serving(ours, plain=False) as port:
        async with Connection(port, client(prometheus, ours.bundle)) as ask:
            found = await ask.request("/metrics", "10.0.0.1")
            assert found.status == 200
            assert ask.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        for context in (client(None, ours.bundle), _of_another_mesh(tmp_path, ours.bundle)):
            with pytest.raises((OSError, ssl.SSLError, asyncio.IncompleteReadError)):
                async with Connection(port, context) as ask:
                    await ask.request("/metrics", "10.0.0.1")
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            async with Connection(port) as ask:
                await ask.request("/metrics", "10.0.0.1")
        old = client(prometheus, ours.bundle)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((OSError, ssl.SSLError)):
            async with Connection(port, old):
                pass


def _of_another_mesh(directory: Path, bundle: Path) -> ssl.SSLContext:
    other = open_authority(directory / "other-ca")
    return client(installed(directory / "stranger", other), bundle)


async def test_the_certificate_that_was_renewed_is_shown(tmp_path: Path, authority: Authority) -> None:
    ours = installed(tmp_path / "web", authority)
    async with serving(ours, plain=False) as port:

        async def serial() -> bytes:
            async with Connection(port, client(ours, ours.bundle)) as ask:
                shown: bytes = ask.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                return shown

        before = await serial()
        fresh = make_key()
        issued = authority.issue(fresh.csr, SpiffeId("cluster.local", "default", "web"), "web.default")
        ours.install(fresh.key, issued)
        assert await serial() != before


async def test_who_says_nothing_or_too_much_is_left_and_others_are_answered(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SECONDS", 1.0)
    async with serving(installed(tmp_path / "web", authority), plain=True) as port:  # noqa: SIM117
        async with Connection(port) as silent, Connection(port) as talker:
            talker.writer.write(b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 10_000)
            with contextlib.suppress(OSError):
                await talker.writer.drain()
            async with Connection(port) as ask:
                assert (await ask.request("/metrics", "localhost")).status == 200
            assert await asyncio.wait_for(silent.reader.read(), 60) == b""
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(talker.reader.read(), 60) == b""


@pytest.mark.parametrize("plain", [True, False])
async def test_who_holds_all_connections_keeps_nobody_out(
    plain: bool, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_MAX_CONNECTIONS", 2)
    ours = installed(tmp_path / "web", authority)
    async with serving(ours, plain=plain) as port, contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(Connection(port)) for _ in range(2)]
        for one in held:
            one.writer.write(b"GET " if plain else b"")
        await asyncio.sleep(0)
        for _ in range(3):
            async with Connection(port, None if plain else client(ours, ours.bundle)) as ask:
                assert (await ask.request("/metrics", "localhost")).status == 200
        assert await asyncio.wait_for(_ended(held[0]), 60), "the oldest made room"


async def _ended(connection: Connection) -> bool:
    try:
        return await connection.reader.read() == b""
    except OSError:
        return True


async def test_no_more_are_answered_at_once_than_are_allowed(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_MAX_CONNECTIONS", 2)
    asked, may = [], asyncio.Event()

    async def slow(accept: str) -> tuple[str, bytes]:
        asked.append(accept)
        await may.wait()
        return await answer(accept)

    async with (
        serving(installed(tmp_path / "web", authority), plain=True, answer=slow) as port,
        Connection(port) as first,
        Connection(port) as second,
    ):
        answers = [asyncio.create_task(one.request("/metrics", "localhost")) for one in (first, second)]
        await eventually("both are being answered", lambda: len(asked) == 2)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            async with Connection(port) as ask:
                await ask.request("/metrics", "localhost")
        may.set()
        assert [found.status for found in await asyncio.gather(*answers)] == [200, 200]


def test_a_taken_port_is_no_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert bind(SocketAddress("127.0.0.1", taken.getsockname()[1])) is None
