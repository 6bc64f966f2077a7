"""Health of the application, asked over TCP or HTTP as its callers would meet it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.agent.http import HttpError, Server, ask
from weft.agent.parameters import HealthParameters
from weft.model.workload import SocketAddress

_EAGER = 0.05
"""Between the first checks, so that a start is not slower than the application."""


async def run_health(
    parameters: HealthParameters,
    addresses: tuple[SocketAddress, ...],
    report: Callable[[bool], None],
    healthy: bool | None = None,
) -> None:
    """Check for ever and report every change. `healthy` is what is known already (None: wait for the first success).

    TCP asks all `addresses`, HTTP the first.
    """
    if parameters.kind == "none" or not addresses:
        report(True)
        return
    streak = 0
    delay = _EAGER
    while True:
        good = await check(parameters, addresses)
        streak = 0 if good == healthy else streak + 1
        needed = parameters.healthy_after if good else parameters.unhealthy_after
        if streak >= needed and (good or healthy is not None):
            healthy, streak = good, 0
            report(good)
        delay = min(delay * 1.2, parameters.interval) if healthy is None else parameters.interval
        await asyncio.sleep(delay)


async def check(parameters: HealthParameters, addresses: tuple[SocketAddress, ...]) -> bool:
    """One check."""
    try:
        async with asyncio.timeout(parameters.timeout):
            if parameters.kind == "http":
                return await _http(addresses[0], parameters.path, parameters.timeout)
            for address in addresses:
                await _tcp(address)
            return True
    except (TimeoutError, OSError, HttpError):
        return False


async def _tcp(address: SocketAddress) -> None:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.close()
    await writer.wait_closed()


async def _http(address: SocketAddress, path: str, timeout: float) -> bool:
    server = Server(host=address.host, port=address.port, name=str(address))
    answer = await ask(server, "GET", path, headers={"User-Agent": "weft-health"}, timeout=timeout)
    return 200 <= answer.status < 400
