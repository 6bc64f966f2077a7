"""The HTTP server under strangers who hold its connections, or send what is not HTTP."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import gc
import itertools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from weft.admin import server
from weft.admin.callers import proxy_of
from weft.admin.replies import body_of
from weft.admin.server import Identify, ServerLimits, mark_authenticated, new_application, serving
from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.controlplane.certificate import ServerCertificates
from weft.model.identity import SpiffeId

FEW = ServerLimits(connections=10, of_one=3, silence=30)


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _prove(request: web.Request) -> web.Response:
    mark_authenticated(request)
    return web.Response(text="welcome")


async def _get(url: str, tls: ssl.SSLContext | bool = True) -> str:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, session.get(url, ssl=tls) as answer:
        return await answer.text()


async def _take(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await body_of(request))))


async def _fail(_request: web.Request) -> web.Response:
    raise ZeroDivisionError


@contextlib.asynccontextmanager
async def _running(
    tls: ssl.SSLContext | None = None,
    *,
    one_request: bool = False,
    identify: Identify = lambda _: "",
    turned_away: Callable[[], None] = lambda: None,
) -> AsyncIterator[tuple[str, int]]:
    application = new_application(body_limit=1000, one_request=one_request)
    application.router.add_get("/", _hello)
    application.router.add_get("/prove", _prove)
    application.router.add_get("/fail", _fail)
    application.router.add_post("/take", _take)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()
    async with serving(application, listener, tls, FEW, identify=identify, turned_away=turned_away):
        yield address


async def _eventually(check: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    while not check():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _strangers(address: tuple[str, int], count: int, say: bytes = b"") -> AsyncIterator[None]:
    writers = []
    try:
        for _ in range(count):
            _, writer = await asyncio.open_connection(*address)
            writer.write(say)
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize("say", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-"])
async def test_strangers_who_hold_all_connections_keep_nobody_out(say: bytes) -> None:
    async with _running() as address, _strangers(address, 40, say):
        assert await _get(f"http://{address[0]}:{address[1]}/") == "hello"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return open_authority(tmp_path / "ca")


@pytest.fixture
def tls(tmp_path: Path, authority: Authority) -> ssl.SSLContext:
    """As the agent API has it: a client may show a certificate of the mesh."""
    return ServerCertificates(authority, (), tmp_path, 3600).tls


def _client_of(authority: Authority, directory: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.bundle)
    if name:
        fresh = make_key()
        identity = SpiffeId(authority.trust_domain, "default", name)
        path = directory / f"{name}.pem"
        path.write_text(fresh.key + authority.issue(fresh.csr, identity, f"{name}.default").chain)
        context.load_cert_chain(path)
    return context


async def test_half_done_handshakes_keep_nobody_out(tmp_path: Path, authority: Authority, tls: ssl.SSLContext) -> None:
    async with _running(tls) as address, _strangers(address, 40, b"\x16\x03\x01"):
        assert await _get(f"https://localhost:{address[1]}/", _client_of(authority, tmp_path)) == "hello"


def _held() -> int:
    """The TLS connections in memory, a quarter of a megabyte each: those of clients count as well."""
    return sum(type(each) is asyncio.sslproto.SSLProtocol for each in gc.get_objects())


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[int]:
    """As in a control plane, which collects cycles seldom. Yields what is held before."""
    gc.collect()
    gc.disable()
    try:
        yield _held()
    finally:
        gc.enable()


async def test_who_says_nothing_costs_no_buffers(tmp_path: Path, authority: Authority, tls: ssl.SSLContext) -> None:
    with _collecting_nothing() as before:
        async with _running(tls) as address, _strangers(address, FEW.connections - 1):
            assert await _get(f"https://localhost:{address[1]}/", _client_of(authority, tmp_path)) == "hello"
            await _eventually(lambda: _held() <= before, "only who spoke had some")


async def test_who_leaves_in_the_hand_shake_leaves_no_buffers_behind(tls: ssl.SSLContext) -> None:
    with _collecting_nothing() as before:
        async with _running(tls) as address:
            for said in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n") * 3:
                with socket.create_connection(address) as stranger:
                    stranger.sendall(said)
                    await asyncio.sleep(0.01)
            await _eventually(lambda: _held() <= before, "their connections are forgotten")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_who_leaves_after_the_hand_shake_leaves_no_buffers_behind(
    tmp_path: Path, authority: Authority, tls: ssl.SSLContext, said: bytes
) -> None:
    """Not even until a request would have been due."""
    with _collecting_nothing() as before:
        async with _running(tls) as address:
            for _ in range(9):
                await _say(address, _client_of(authority, tmp_path), said)
            await _eventually(lambda: _held() <= before, "their connections are forgotten")


async def test_who_makes_room_in_the_hand_shake_leaves_no_buffers_behind(tls: ssl.SSLContext) -> None:
    with _collecting_nothing() as before:
        async with _running(tls) as address:
            async with _strangers(address, 40, b"\x16\x03\x01"):
                await _eventually(lambda: _held() <= before + FEW.connections, "those who made room are forgotten")
            await _eventually(lambda: _held() <= before, "their connections are forgotten")


async def test_what_is_not_http_leaves_few_buffers_behind(
    tmp_path: Path, authority: Authority, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REMAINS", 5)
    with _collecting_nothing() as before:
        async with _running(tls) as address:
            for _ in range(4):
                for said in (
                    b"\0\0\0",
                    b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
                    b"GET /\r\n\r\n",
                ):
                    await _say(address, _client_of(authority, tmp_path), said)
            await _eventually(lambda: _held() <= before + 5, "no more than five are left")


async def test_no_timer_holds_a_connection_that_has_ended(
    tmp_path: Path, authority: Authority, tls: ssl.SSLContext
) -> None:
    """It is for the first request, which would be due long after; of a header without end there is none."""

    def held() -> int:
        gc.collect()
        return _held()

    with _collecting_nothing() as before:
        async with _running(tls) as address:
            await _say(address, _client_of(authority, tmp_path), b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000_000 + b"\r\n")
            await _eventually(lambda: held() <= before, "nothing but cycles held it")


async def _say(address: tuple[str, int], tls: ssl.SSLContext, said: bytes) -> None:
    """Say something over a connection of its own, hear what comes back first, and leave."""
    reader, writer = await asyncio.open_connection(*address, ssl=tls, server_hostname="localhost")
    with contextlib.suppress(ConnectionError):
        writer.write(said)
        if said:
            await reader.read(1000)
    writer.transport.abort()


async def test_one_caller_has_a_few_connections_however_many_it_opens(
    tmp_path: Path, authority: Authority, tls: ssl.SSLContext
) -> None:
    """Whoever it is: with a certificate of the mesh, strangers do not push one out, nor does one push out others."""
    greedy, honest = (_client_of(authority, tmp_path, name) for name in ("greedy", "honest"))
    away: list[None] = []
    async with _running(tls, identify=proxy_of, turned_away=lambda: away.append(None)) as address:
        kept = await asyncio.open_connection("localhost", address[1], ssl=honest)
        held = [await asyncio.open_connection("localhost", address[1], ssl=greedy) for _ in range(30)]
        for reader, _ in held[: -FEW.of_one]:
            async with asyncio.timeout(60):
                assert await reader.read() == b""
        async with _strangers(address, 40):
            for reader, writer in (kept, *held[-FEW.of_one :]):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                async with asyncio.timeout(60):
                    assert await reader.readuntil(b"hello")
        for _, writer in (kept, *held):
            writer.transport.abort()
    assert away, "strangers who were there for a moment only may have been honest"


async def test_nobody_is_turned_away_where_only_old_strangers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    away: list[None] = []
    monkeypatch.setattr(server, "PROMPT_SECONDS", 0.0)
    async with _running(turned_away=lambda: away.append(None)) as address, _strangers(address, 40):
        assert await _get(f"http://{address[0]}:{address[1]}/") == "hello"
    assert not away


async def test_when_all_are_proven_a_newcomer_is_turned_away_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away: list[None] = []
    numbers = itertools.count()
    everybody = _running(identify=lambda _: f"caller-{next(numbers)}", turned_away=lambda: away.append(None))
    async with everybody as address, _strangers(address, FEW.connections):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        assert len(away) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "10 connections are open, and no more are taken: callers are turned away"
    ]


async def test_a_connection_may_end_with_its_answer() -> None:
    async with _running(one_request=True) as address:
        for path, status in (("/", b" 200 "), ("/nothing", b" 404 "), ("/fail", b" 500 ")):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            async with asyncio.timeout(60):
                assert status in await reader.read()
            writer.close()


async def test_who_has_proven_something_stays() -> None:
    async with _running() as address:
        reader, writer = await asyncio.open_connection(*address)

        async def ask(path: bytes) -> bytes:
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(60):
                head = await reader.readuntil(b"\r\n\r\n")
                return head + await reader.readexactly(7 if path == b"/prove" else 5)

        assert b" 200 " in await ask(b"/prove")
        async with _strangers(address, 40):
            assert b" 200 " in await ask(b"/")
        writer.close()
        await writer.wait_closed()


async def test_who_leaves_early_is_not_logged_and_faults_of_ours_are(caplog: pytest.LogCaptureFixture) -> None:
    async with _running() as address:
        with caplog.at_level(logging.WARNING):
            for say in (
                b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12",
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ):
                for _ in range(5):
                    _, writer = await asyncio.open_connection(*address)
                    writer.write(say)
                    await writer.drain()
                    writer.transport.abort()
            assert await _get(f"http://{address[0]}:{address[1]}/") == "hello"
            assert not caplog.records
            assert "internal-error" in await _get(f"http://{address[0]}:{address[1]}/fail")
            await _eventually(lambda: "ZeroDivisionError" in caplog.text, "it is logged")


async def test_what_is_not_http_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with _running() as address:
        with caplog.at_level(logging.WARNING):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            async with asyncio.timeout(60):
                assert b" 400 " in await reader.read()
            writer.close()
            await writer.wait_closed()
    assert not caplog.records


async def test_connections_are_kept_only_while_half_of_them_are_free() -> None:
    application = new_application(body_limit=1000, one_request=True)

    async def keep(request: web.Request) -> web.Response:
        server.keep_connection(request)
        return web.Response(text="welcome")

    application.router.add_get("/keep", keep)
    application.router.add_get("/", _hello)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()
    async with serving(application, listener, None, FEW):
        assert await _says_close(address, "/")
        assert not await _says_close(address, "/keep")
        async with _strangers(address, 6):
            assert await _says_close(address, "/keep")


async def _says_close(address: tuple[str, int], path: str) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return b"connection: close" in head.lower()
