"""Tunnels to a port of a pod, through the API server's port-forward, by WebSocket.

One tunnel is one connection: its messages begin with the number of a channel, 0 for data and 1 for what went wrong;
the first message of each has the port. https://kubernetes.io/docs/reference/generated/kubernetes-api/
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from urllib.parse import urlsplit

import aiohttp

from weft.aio.connector import Connector
from weft.local.cluster import ClusterError
from weft.model.printable import printable
from weft.sources.kubernetes.access import Shown

PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_FORBIDDEN = 403
_PREAMBLE = 3
"""Bytes of the first message of a channel: its number and that of the port."""
_CONNECT_SECONDS = 15.0
_PING_SECONDS = 20.0
_PIECE = 64 * 1024
_LARGEST = 16 * 1024 * 1024


class Tunnel:
    """One connection to a pod. Bytes that go into `near`, a socket, come out at the pod, and the other way round. A
    thread of its own leads them."""

    def __init__(self, shown: Shown, path: str, port: int) -> None:
        """`path` is that of the pod. Blocks until the API server has opened it. ClusterError if it does not."""
        self.near, self._far = socket.socketpair()
        self._shown = shown
        self._path = f"{path}/portforward?ports={port}"
        self._failure = ""
        self._forbidden = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weft-tunnel", daemon=True)
        self._thread.start()
        self._opened.wait(_CONNECT_SECONDS + 1.0)
        if self._failure or not self._opened.is_set():
            self.near.close()
            text = self._failure or "the API server opens no port-forward in time"
            raise ClusterError(text, forbidden=self._forbidden)

    @property
    def failure(self) -> str:
        """What the pod's side said of why it ended; empty: nothing."""
        return self._failure

    def _run(self) -> None:
        asyncio.run(self._lead())

    async def _lead(self) -> None:
        connector = Connector(limit=1)
        try:
            session = aiohttp.ClientSession(connector=connector, trust_env=False)
            async with session, await self._connect(session) as channel:
                self._opened.set()
                await self._relay(channel)
        except ClusterError as error:
            self._failure, self._forbidden = str(error), error.forbidden
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failure = self._failure or f"the port-forward broke ({type(error).__name__})"
        finally:
            self._far.close()
            self._opened.set()

    async def _connect(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        shown = self._shown
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await session.ws_connect(
                    f"{shown.server}{self._path}",
                    protocols=(PROTOCOL,),
                    headers=shown.headers,
                    heartbeat=_PING_SECONDS,
                    max_msg_size=_LARGEST,
                    ssl=shown.tls or True,
                    server_hostname=shown.server_name or None,
                )
        except aiohttp.WSServerHandshakeError as error:
            why = f"it answers {error.status}"
            if error.status == _FORBIDDEN:
                why = "you may not create pods/portforward there; the Role weft-door has that right"
            text = f"the API server opens no port-forward: {why}"
            raise ClusterError(text, forbidden=error.status == _FORBIDDEN) from error
        except TimeoutError as error:
            raise ClusterError("the API server opens no port-forward in time") from error
        except aiohttp.ClientError as error:
            host = urlsplit(shown.server).netloc
            raise ClusterError(f"the API server at {host} cannot be reached ({type(error).__name__})") from error

    async def _relay(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        """Until one side ends."""
        self._far.setblocking(False)
        tasks = [asyncio.ensure_future(self._out(channel)), asyncio.ensure_future(self._in(channel))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _out(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while piece := await loop.sock_recv(self._far, _PIECE):
                await channel.send_bytes(bytes((_DATA,)) + piece)

    async def _in(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        begun: set[int] = set()
        with contextlib.suppress(ConnectionError):
            async for message in channel:
                if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                    continue
                number, data = message.data[0], message.data[1:]
                if number not in begun and len(message.data) >= _PREAMBLE:
                    begun.add(number)
                    data = message.data[_PREAMBLE:]
                if number == _ERROR and data:
                    self._failure = printable(data.decode("utf-8", "replace"), 300)
                    return
                if number == _DATA and data:
                    await loop.sock_sendall(self._far, data)
