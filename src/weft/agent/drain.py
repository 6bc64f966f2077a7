"""The ordered stop of a proxy: callers choose other instances, requests in flight finish."""

from __future__ import annotations

import asyncio
import logging

from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.registration import Registration

_LOG = logging.getLogger(__name__)
_POLL = 0.1
_QUIET = 0.3
"""How long nothing may be in flight: a request may be on its way while nobody counts it."""
_CONFIRMATION = 10.0


async def drain(
    registration: Registration,
    admin: EnvoyAdmin,
    active: str,
    timeout: float,
    hurry: asyncio.Event,
    least: float = 0.0,
) -> None:
    """Mark draining, wait for the callers' confirmation, then until no request is in flight.

    `active` is the regular expression of Envoy's gauges that count them. Takes at least `least` seconds, for callers
    who confirm nothing, and at most `timeout`, less when `hurry` is set; whoever does not answer is not waited for.
    """
    work = asyncio.ensure_future(_drain(registration, admin, active, timeout, least))
    hurried = asyncio.ensure_future(hurry.wait())
    try:
        done, _ = await asyncio.wait({work, hurried}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            work.result()
        elif hurried not in done:
            _LOG.warning("requests were still in flight after %g s", timeout)
    finally:
        work.cancel()
        hurried.cancel()
        await asyncio.gather(work, hurried, return_exceptions=True)


async def _drain(registration: Registration, admin: EnvoyAdmin, active: str, timeout: float, least: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    await registration.drain(min(_CONFIRMATION, timeout))
    await admin.drain_listeners()
    quiet_since = clock()
    while clock() - quiet_since < _QUIET or clock() - began < least:
        gauges = await admin.gauges(active)
        if gauges is None:
            return  # Envoy is gone, and with it every request
        if sum(gauges.values()):
            quiet_since = clock()
        await asyncio.sleep(_POLL)
