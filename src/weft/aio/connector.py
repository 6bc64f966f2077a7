"""Connections of an HTTP client that end with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import Any

import aiohttp

_TURNS = 20
"""Of the event loop, until a transport has noticed that its socket has ended."""


class Connector(aiohttp.TCPConnector):
    """One that leaves no socket open when it is closed. aiohttp forgets connections of requests that were given up, and
    lets them say TLS's goodbye, for which they wait up to 30 seconds, longer than an event loop may live. Takes the
    options of `aiohttp.TCPConnector` but for `socket_factory`."""

    def __init__(self, **options: Any) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(socket_factory=self._make, **options)

    def _make(self, info: Any) -> socket.socket:
        family, kind, protocol, *_ = info
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        return made

    async def close(self, *, abort_ssl: bool = True) -> None:
        """Close all connections at once."""
        await super().close(abort_ssl=abort_ssl)
        for each in self._made:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS):
            if all(each.fileno() < 0 for each in self._made):
                return
            await asyncio.sleep(0)
