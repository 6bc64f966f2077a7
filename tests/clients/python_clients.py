"""Python's HTTP and WebSocket clients, used as an application would: ``python_clients.py CLIENT=URL…`` prints what each
gets, as JSON: the answer, or the error.

Each reads its proxy from the environment, if it does so at all; nothing here knows of a mesh.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests
import urllib3
from websockets.asyncio.client import connect

SECONDS = 10


async def aiohttp_default(url: str, trust_env: bool = False) -> str:
    async with aiohttp.ClientSession(trust_env=trust_env) as session, session.get(url) as answer:
        return await answer.text()


async def aiohttp_trust_env(url: str) -> str:
    return await aiohttp_default(url, trust_env=True)


async def aiohttp_websocket(url: str) -> str:
    async with aiohttp.ClientSession(trust_env=True) as session, session.ws_connect(url) as socket:
        await socket.send_str("hello")
        return await socket.receive_str(timeout=SECONDS)


async def httpx_client(url: str) -> str:
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        return (await client.get(url)).text


async def websockets(url: str) -> str:
    async with connect(url) as socket:
        await socket.send("hello")
        return str(await socket.recv())


def requests_client(url: str) -> str:
    return requests.get(url, timeout=SECONDS).text


def urllib_request(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return str(answer.read().decode())


def urllib3_default(url: str) -> str:
    return urllib3.PoolManager().request("GET", url, retries=False, timeout=SECONDS).data.decode()


def urllib3_proxy_manager(url: str) -> str:
    found = urlsplit(os.environ["HTTP_PROXY"])
    secret = f"{found.username}:{found.password}" if found.username else None
    proxy = urllib3.ProxyManager(found.geturl(), proxy_headers=urllib3.make_headers(proxy_basic_auth=secret))
    return proxy.request("GET", url, retries=False, timeout=SECONDS).data.decode()


def http_client(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=SECONDS)
    connection.request("GET", parts.path)
    return connection.getresponse().read().decode()


ASYNCHRONOUS: tuple[Callable[[str], Awaitable[str]], ...] = (
    aiohttp_default,
    aiohttp_trust_env,
    aiohttp_websocket,
    httpx_client,
    websockets,
)
BLOCKING: tuple[Callable[[str], str], ...] = (
    http_client,
    requests_client,
    urllib3_default,
    urllib3_proxy_manager,
    urllib_request,
)


async def attempt(name: str, url: str) -> str:
    """What the client called `name` gets."""
    for client in ASYNCHRONOUS:
        if client.__name__ == name:
            return await client(url)
    return await asyncio.to_thread({client.__name__: client for client in BLOCKING}[name], url)


async def main(*asked: str) -> None:
    """All at once; an answer is text, an error a list with its text."""
    names, urls = zip(*(each.split("=", 1) for each in asked), strict=True)
    found = await asyncio.gather(*map(attempt, names, urls), return_exceptions=True)
    told = [answer if isinstance(answer, str) else [repr(answer)] for answer in found]
    print(json.dumps(dict(zip(names, told, strict=True))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
