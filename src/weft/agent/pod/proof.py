"""Whether the rules of capture are in force in this pod, found out by a container that has no right to read them.

They lead one address of loopback, which stands for what was asked for, to the port of the proxy. All rules of a pod are
put in force at once, so whoever is answered there knows of the others, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator

from weft.agent.pod.ports import CAPTURE
from weft.agent.ports import LOOPBACK

_LOOK_EVERY = 0.2
_SECONDS = 2.0


async def wait_captured(address: str, timeout: float) -> bool:
    """Whether the rules that `address` stands for are in force, within `timeout` seconds."""
    clock = asyncio.get_running_loop().time
    until = clock() + timeout
    while True:
        with _listening():
            if await _answers(address) and not await _answers(_beside(address)):
                return True
        if clock() >= until:
            return False
        await asyncio.sleep(_LOOK_EVERY)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Somebody at the proxy's port: we, unless the proxy is there already."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server((LOOPBACK, CAPTURE)))
        yield


def _beside(address: str) -> str:
    """An address for which nothing is known: who is answered there, too, is answered everywhere."""
    return str(ipaddress.IPv4Address(address) - 1)


async def _answers(address: str) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(address, CAPTURE)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
