"""The HTTP server under strangers who hold its connections, or send what is not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from weft.admin.server import ServerLimits, mark_authenticated, new_application, serving
from weft.ca.authority import open_authority

FEW = ServerLimits(connections=10, silence=30)


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _prove(request: web.Request) -> web.Response:
    mark_authenticated(request)
    return web.Response(text="welcome")


async def _get(url: str, tls: ssl.SSLContext | bool = True) -> str:
    async with asyncio.timeout(5), aiohttp.ClientSession() as session, session.get(url, ssl=tls) as answer:
        return await answer.text()


@contextlib.asynccontextmanager
async def _running(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    application = new_application(body_limit=1000)
    application.router.add_get("/", _hello)
    application.router.add_get("/prove", _prove)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()
    async with serving(application, listener, tls, FEW):
        yield address


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


async def test_half_done_handshakes_keep_nobody_out(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    certificate = authority.server_certificate(())
    pem = tmp_path / "server.pem"
    pem.write_text(certificate.key + certificate.chain)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    context = ssl.create_default_context(cadata=authority.bundle)
    async with _running(tls) as address, _strangers(address, 40, b"\x16\x03\x01"):
        assert await _get(f"https://localhost:{address[1]}/", context) == "hello"


async def test_who_has_proven_something_stays() -> None:
    async with _running() as address:
        reader, writer = await asyncio.open_connection(*address)

        async def ask(path: bytes) -> bytes:
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                return head + await reader.readexactly(7 if path == b"/prove" else 5)

        assert b" 200 " in await ask(b"/prove")
        async with _strangers(address, 40):
            assert b" 200 " in await ask(b"/")
        writer.close()
        await writer.wait_closed()


async def test_what_is_not_http_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with _running() as address:
        with caplog.at_level(logging.WARNING):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            async with asyncio.timeout(5):
                assert b" 400 " in await reader.read()
            writer.close()
            await writer.wait_closed()
    assert not caplog.records
