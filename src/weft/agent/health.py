"""Health of the application, asked over TCP or HTTP as its callers would meet it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from weft.agent.http import HttpError, Server, ask, connected_inside
from weft.agent.parameters import HealthParameters
from weft.aio.looks import next_look
from weft.model.workload import SocketAddress, WorkloadPort

_EAGER = 0.05
"""Between the first checks at least, so that a start is hardly slower than the application."""


async def run_health(
    parameters: HealthParameters,
    addresses: tuple[SocketAddress, ...],
    report: Callable[[bool], None],
    healthy: bool | None = None,
    namespace: str = "",
) -> None:
    """Check for ever and report every change. `healthy` is what is known already (None: wait for the first success).

    TCP asks all `addresses`, HTTP the first: in the network namespace of which `namespace` is the file, if it is given.
    """
    if parameters.kind == "none" or not addresses:
        report(True)
        return
    if healthy is None:
        await asyncio.sleep(parameters.delay)
    streak, last = 0, None
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        good = await check(parameters, addresses, namespace)
        streak, last = streak + 1 if good is last else 1, good
        needed = parameters.healthy_after if good else parameters.unhealthy_after
        if good is not healthy and streak >= needed and (good or healthy is not None):
            healthy = good
            report(good)
        eager = healthy is None and not good
        await asyncio.sleep(next_look(clock() - began, _EAGER, parameters.interval) if eager else parameters.interval)


def checked_addresses(parameters: HealthParameters, ports: tuple[WorkloadPort, ...]) -> tuple[SocketAddress, ...]:
    """Who is asked: the port that `parameters` name, where the application has it, or all of its ports."""
    number = parameters.port
    if not number:
        return tuple(port.application for port in ports)
    own = next((port.application for port in ports if port.port == number), None)
    return (own or SocketAddress("127.0.0.1", number),)


async def check(parameters: HealthParameters, addresses: tuple[SocketAddress, ...], namespace: str = "") -> bool:
    """One check."""
    try:
        async with asyncio.timeout(parameters.timeout):
            if parameters.kind == "http":
                return await _http(addresses[0], parameters, namespace)
            for address in addresses:
                await _tcp(address, namespace)
            return True
    except (TimeoutError, OSError, HttpError, ValueError):  # a host that is no name for TLS is a ValueError
        return False


async def _tcp(address: SocketAddress, namespace: str) -> None:
    if namespace:
        (await connected_inside(namespace, address.host, address.port)).close()
        return
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.close()
    await writer.wait_closed()


async def _http(address: SocketAddress, parameters: HealthParameters, namespace: str) -> bool:
    name = parameters.host or (address.host if parameters.tls else str(address))
    tls = _any_certificate() if parameters.tls else None
    server = Server(host=address.host, port=address.port, tls=tls, name=name, namespace=namespace)
    headers = {"user-agent": "weft-health", **dict(parameters.headers)}
    answer = await ask(server, "GET", parameters.path, headers=headers, timeout=parameters.timeout)
    return 200 <= answer.status < 400


def _any_certificate() -> ssl.SSLContext:
    """TLS with whoever answers on the workload's own host: health says nothing of who that is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
