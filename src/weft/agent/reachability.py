"""After the start: does what must connect between hosts connect? Says what does not, and when it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from weft.agent.client import ControlPlaneClient
from weft.agent.diagnosis import connection_failure
from weft.agent.errors import AgentError
from weft.agent.http import ConnectTimeoutError
from weft.model.workload import SocketAddress

_LOG = logging.getLogger(__name__)
_CONNECT_SECONDS = 5.0
_AGAIN = 30.0


async def check_xds(address: str) -> None:
    """Warn when the xDS server (``HOST:PORT``), which Envoy is about to connect to, takes no TCP connection."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:  # also a TimeoutError
        failure = ConnectTimeoutError() if isinstance(error, TimeoutError) else error
        reason = connection_failure(failure, _CONNECT_SECONDS)
        _LOG.warning("the agent API answers, but the xDS server at %s does not: %s", address, reason)
        return
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def run_reach_check(
    client: ControlPlaneClient, inbound: tuple[SocketAddress, ...], again: float = _AGAIN
) -> None:
    """Ask the control plane to connect to our `inbound` listeners, every `again` seconds until it does."""
    said = ""
    while inbound:
        try:
            answer = await client.reach()
        except AgentError as error:
            _LOG.debug("cannot ask whether callers reach this workload: %s", error)
        else:
            if not answer.tried:
                where = ", ".join(str(address) for address in inbound)
                _LOG.info("callers are told %s, not %s, where the control plane sees this host", where, answer.seen)
                return
            text = "; ".join(f"{address}: {why}" for address, why in answer.failures)
            if not text:
                _LOG.info("callers reach this workload at %s", ", ".join(str(address) for address in inbound))
                return
            if text != said:
                _LOG.warning("the control plane's host does not reach this workload, so no caller may: %s", text)
                said = text
        await asyncio.sleep(again)
