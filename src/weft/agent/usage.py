"""Whether the application uses its proxy: a client that does not heed HTTP_PROXY looks like one that calls nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from weft.agent.envoy_admin import EnvoyAdmin

_COUNTERS = r"^(http|tcp)\.(outbound|upstream|inbound)\.downstream_(cx_total|rq_total|rq_5xx)$"
_CALLS = ("http.outbound.downstream_cx_total", "tcp.upstream.downstream_cx_total")
_REQUESTS = "http.inbound.downstream_rq_total"
_ERRORS = "http.inbound.downstream_rq_5xx"
_SERVED = (_REQUESTS, "tcp.inbound.downstream_cx_total")
_LONGEST_DELAY = 60.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of an application: whether it `declared` what it uses, whether it `serves` a port, and how many
    seconds it may serve, or live if it does not, without using its proxy."""

    declared: bool
    serves: bool
    patience: float


async def run_usage(admin: EnvoyAdmin, expected: Expected, report: Callable[[bool], None]) -> None:
    """Report True when the application never used its proxy in time, though it should have, and False when it does
    after all; returns then, or when there is nothing to say.

    It should have if it declared what it uses, or if all that it answered over HTTP were errors of its own (5xx). An
    application that only serves is left in peace, and so is one that serves and was not called yet.
    """
    if not (expected.declared or expected.serves):
        return
    waits, told = expected.serves, False
    delay = expected.patience / 3 if waits else expected.patience
    while True:
        await asyncio.sleep(delay)
        counters = await admin.gauges(_COUNTERS) or {}
        if any(counters.get(name) for name in _CALLS):
            break
        if waits and any(counters.get(name) for name in _SERVED):
            waits, delay = False, expected.patience
        elif waits or told:
            delay = min(delay * 1.2, _LONGEST_DELAY)
        elif expected.declared or 0 < counters.get(_REQUESTS, 0) <= counters.get(_ERRORS, 0):
            told = True
            report(True)
        else:
            return
    if told:
        report(False)
