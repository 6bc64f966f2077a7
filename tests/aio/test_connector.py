"""Connections of a client end with it, whoever is at the other end and whatever was under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from support.certificates import TestAuthority
from weft.aio.connector import Connector
from weft.testing.polling import eventually

MESH = TestAuthority()


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[int, list[socket.socket]]]:
    """A TLS server that takes connections, and then neither reads nor says goodbye: its port, and what it has taken."""
    leaf = MESH.issue(dns=("localhost",))
    (tmp_path / "pair.pem").write_bytes(leaf.chain + leaf.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pair.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(tls.wrap_socket(listener.accept()[0], server_side=True))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield listener.getsockname()[1], taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for each in taken:
            each.close()


def connected(port: int) -> int:
    """How many sockets of this process are connected to `port` of loopback."""
    mine = psutil.Process().net_connections("tcp4")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.raddr.port == port for each in mine)


async def test_requests_that_were_given_up_leave_no_socket(silent: tuple[int, list[socket.socket]]) -> None:
    port, taken = silent
    tls = ssl.create_default_context(cadata=MESH.bundle.decode())
    async with aiohttp.ClientSession(connector=Connector(limit=0)) as session:

        async def ask() -> None:
            await session.get(f"https://localhost:{port}/", ssl=tls)

        tasks = [asyncio.create_task(ask()) for _ in range(5)]
        await eventually("all are connected", lambda: len(taken) == 5)
        for each in tasks[:3]:
            each.cancel()
        await asyncio.wait(tasks[:3])
    assert connected(port) == 0
    await asyncio.wait(tasks)
