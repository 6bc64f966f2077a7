"""Attacks by number, while others are served: streams that are reset, tries that are given up, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable

import aiohttp

from support.doors import PAGE, door
from support.http2 import reset_streams
from support.mesh import Mesh

PAGES = 20
RESETS = 600
SHOP = "http://shop/delay/0.5"
IMPATIENT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
    - match: [{uri: {prefix: /impatient}}]
      rewrite: {uri: /delay/2}
      retries: {attempts: 3, perTryTimeout: 10ms, retryOn: 5xx}
      route: [{destination: {host: shop}}]
    - route: [{destination: {host: shop}}]
"""


def gateway_port(mesh: Mesh) -> int:
    port: int = mesh.workload("front")["gateway"]["ports"][0][1]["port"]
    return port


def proxy_url(mesh: Mesh, name: str) -> str:
    return "http://{}:{}".format(*mesh.proxy_of(name))


async def answers(url: str, count: int, *, proxy: str | None = None, host: str = "", patience: float = 30) -> list[str]:
    """`count` requests at once, each on a connection of its own: their answers, or ``left`` after `patience`."""

    async def one(session: aiohttp.ClientSession) -> str:
        try:
            async with session.get(url, proxy=proxy, headers={"Host": host} if host else {}) as answer:
                return f"{answer.status} {await answer.text()}"
        except TimeoutError:
            return "left"

    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=patience)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await asyncio.gather(*[one(session) for _ in range(count)])


async def pages_during(flood: Awaitable[object], url: str, *, proxy: str | None = None, host: str = "") -> list[str]:
    """Slow pages, again and again until the flood is over."""
    running = asyncio.ensure_future(flood)
    found: list[str] = []
    while not running.done():
        found += await answers(url, PAGES, proxy=proxy, host=host)
    await running
    return found


async def test_resets_of_one_client_at_a_gateway_fail_nobody_elses_pages(target: Mesh) -> None:
    """The gateway sends the requests of all its clients over one connection. It is the client's own that it closes."""
    port = gateway_port(target)
    connections = asyncio.create_task(reset_streams(port, "shop.example", "/slow", RESETS))
    found = await pages_during(connections, f"http://127.0.0.1:{port}/slow", host="shop.example")
    assert {answer[:3] for answer in found} == {"200"}, found
    assert connections.result() > 1


async def test_tries_that_are_given_up_cost_nobody_elses_pages(target: Mesh) -> None:
    proxy = proxy_url(target, "client")
    with target.applied(IMPATIENT):
        flood = asyncio.create_task(answers("http://shop/impatient", RESETS // 3, proxy=proxy))
        found = await pages_during(flood, SHOP, proxy=proxy)
    assert {answer[:3] for answer in found} == {"200"}, found
    assert {answer[:3] for answer in flood.result()} == {"504"}, flood.result()


async def test_clients_that_leave_early_cost_nobody_elses_pages(target: Mesh) -> None:
    proxy, port = proxy_url(target, "client"), gateway_port(target)
    for url, through, host in ((SHOP, proxy, ""), (f"http://127.0.0.1:{port}/slow", None, "shop.example")):
        flood = asyncio.create_task(answers(url, RESETS, proxy=through, host=host, patience=0.2))
        found = await pages_during(flood, url, proxy=through, host=host)
        assert {answer[:3] for answer in found} == {"200"}, found


READERS = 20
"""Who read nothing: more than there is room for in a window of one stream of each connection."""


async def test_who_does_not_read_holds_up_nobody_elses_pages(target: Mesh) -> None:
    """The gateway has one connection to the application's sidecar, and what nobody reads must not fill its window."""
    with target.applied(PAGE), contextlib.ExitStack() as held:
        to = door(target, "gateway")
        for _ in range(READERS):
            reader = held.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(30)
            reader.connect(to.address)
            reader.sendall(to.request(to.large) + b"\r\n")
            assert reader.recv(12) == b"HTTP/1.1 200"  # the answer is on its way, and stays there
        found = await answers(f"http://127.0.0.1:{to.address[1]}/open", PAGES, host="shop.example", patience=20)
    assert {answer[:3] for answer in found} == {"200"}, found


async def test_a_sidecar_that_is_sent_round_in_a_circle_ends_it(target: Mesh) -> None:
    proxy, other = proxy_url(target, "client"), proxy_url(target, "shop")
    for url in (proxy, other, proxy.replace("127.0.0.1", "localhost")):
        found = await answers(url, PAGES, proxy=proxy)
        assert {answer[:3] for answer in found} == {"508"}, found
