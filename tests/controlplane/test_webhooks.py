"""The webhook server among strangers: the API server's connections stay, whoever else holds some."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.injection import pod, review
from weft.ca.authority import open_authority
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.webhooks import WEBHOOK_LIMITS, serving_webhooks
from weft.inject.review import ALLOWED, ReviewRequest, Verdict
from weft.telemetry.metrics import Registry

BODY = review(pod(), "shop")
ASK = b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
API_SERVER = "127.0.0.1"


class Allowing:
    """Lets everything be."""

    async def __aenter__(self) -> Allowing:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def review(self, _: ReviewRequest) -> Verdict:
        return ALLOWED


class Port:
    """The server's, and how to get there."""

    def __init__(self, number: int, tls: ssl.SSLContext) -> None:
        self._number = number
        self._tls = tls
        self._held: list[asyncio.StreamWriter] = []

    async def connect(self, address: str, say: bytes) -> Caller | None:
        """None if it is turned away."""
        source = (address, 0)
        try:
            opened = await asyncio.open_connection(
                "127.0.0.1", self._number, local_addr=source, ssl=self._tls, server_hostname="localhost"
            )
        except OSError:
            return None
        self._held.append(opened[1])
        opened[1].write(say)
        return Caller(*opened)

    def end(self) -> None:
        for each in self._held:
            each.transport.abort()


class Caller:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, say: bytes = ASK) -> bool:
        """Whether the review is answered."""
        self._writer.write(say)
        return await self.answered()

    async def answered(self) -> bool:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            async with asyncio.timeout(60):
                head = await self._reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                return b'"allowed":true' in (await self._reader.readexactly(length)).replace(b" ", b"")
        return False


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    authority = open_authority(tmp_path / "ca")
    tls = ServerCertificates(authority, (), tmp_path, 3600).tls
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    number = listener.getsockname()[1]
    client = ssl.create_default_context(cadata=authority.bundle)
    async with serving_webhooks({"/inject": Allowing()}, Registry(), listener, tls):
        port = Port(number, client)
        try:
            yield port
        finally:
            port.end()


@pytest.mark.parametrize("say", [b"P", ASK])
async def test_one_stranger_does_not_push_the_api_server_out(port: Port, say: bytes) -> None:
    kept = await port.connect(API_SERVER, b"")
    assert kept is not None
    assert await kept.ask()
    for _ in range(WEBHOOK_LIMITS.connections + 10):
        await port.connect("127.0.0.2", say)
    assert await kept.ask(), "its connection is there still"
    fresh = await port.connect(API_SERVER, b"")
    assert fresh is not None
    assert await fresh.ask()


async def test_strangers_of_many_addresses_go_before_it(port: Port) -> None:
    kept = await port.connect(API_SERVER, b"")
    assert kept is not None
    assert await kept.ask()
    for index in range(WEBHOOK_LIMITS.connections + 10):
        await port.connect(f"127.0.1.{index % 100 + 1}", b"P")
    assert await kept.ask()
    fresh = await port.connect(API_SERVER, b"")
    assert fresh is not None
    assert await fresh.ask()
