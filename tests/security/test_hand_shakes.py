"""HTTPS listeners of a gateway under hand-shakes in number: others are served, and who stops half-way is ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from pathlib import Path

import aiohttp

from support.mesh import Mesh

PAGES = 20
HALF_OPEN = 400
HAND_SHAKES = 600
AT_ONCE = 50
CLIENT_HELLO = bytes.fromhex("16030102000100")
"""The begin of a record that never comes to its end."""
SECURE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: secure}
spec:
  gatewayClassName: weft
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: secure}
spec:
  parentRefs: [{name: secure}]
  hostnames: [shop.example]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
"""


def certificate_secret(directory: Path) -> str:
    """A Secret for shop.example; its certificate is ``c`` in `directory`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example",
         "-keyout", str(directory / "k"), "-out", str(directory / "c")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem = {"tls.crt": (directory / "c").read_text(), "tls.key": (directory / "k").read_text()}
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "type": "kubernetes.io/tls"}
    return json.dumps({**kind, "stringData": pem})


async def half_open(port: int) -> bool:
    """A client that stops in the middle of its first message; whether the gateway ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(CLIENT_HELLO)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                return await reader.read(100) == b"" or reader.at_eof()
        return True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def hand_shake(port: int, context: ssl.SSLContext, room: asyncio.Semaphore) -> None:
    """A client that proves the server and leaves."""
    async with room:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="shop.example")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def pages(port: int, context: ssl.SSLContext, flood: asyncio.Future[list[bool | None]]) -> list[int]:
    """Pages on one connection after another until the flood is over: their statuses."""
    found: list[int] = []
    while not flood.done() or len(found) < PAGES:
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            url, headers = f"https://127.0.0.1:{port}/health", {"Host": "shop.example"}
            async with session.get(url, headers=headers, server_hostname="shop.example") as answer:
                found.append(answer.status)
    return found


async def test_hand_shakes_in_number_cost_nobody_elses_pages(target: Mesh, tmp_path: Path) -> None:
    with target.applied(SECURE + certificate_secret(tmp_path)):
        context = ssl.create_default_context(cafile=str(tmp_path / "c"))
        gateway = target.gateway("secure", "443=auto")
        try:
            port = target.workload("secure")["gateway"]["ports"][0][1]["port"]
            room = asyncio.Semaphore(AT_ONCE)
            slow = [half_open(port) for _ in range(HALF_OPEN)]
            fast = [hand_shake(port, context, room) for _ in range(HAND_SHAKES)]
            flood = asyncio.gather(*slow, *fast)
            found = await pages(port, context, flood)
            assert set(found) == {200}
            ended = (await flood)[:HALF_OPEN]
            assert ended == [True] * HALF_OPEN, "each that stopped half-way is ended by the gateway"
        finally:
            gateway.stop()
