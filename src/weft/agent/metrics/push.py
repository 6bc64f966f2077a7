"""Pushes what the endpoint serves to an OTLP/HTTP receiver, while documents ask for it.

Values are cumulative: one that is lost is made up for by the next, so nothing is kept or sent again.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from weft.agent.http import HttpError, Server, ask
from weft.agent.metrics.families import Family
from weft.model.addresses import host_and_port
from weft.model.series import Peer
from weft.model.telemetry import MetricPush

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
"""How often is looked whether documents ask for it."""
_LONGEST_SEND = 10.0
"""Also where pushes are more frequent: a busy machine is no reason to call one lost."""
_PATH = "/v1/metrics"
_PORTS = {"http": 80, "https": 443}
_FAST = 1


class OtlpPush:
    """`run` is its one task. `wanted` says where to, if anywhere; `families` collects, `own` is the workload."""

    def __init__(
        self,
        wanted: Callable[[], MetricPush | None],
        families: Callable[[], Awaitable[tuple[Family, ...]]],
        own: Callable[[], Peer],
        look: float = _LOOK_SECONDS,
        longest: float = _LONGEST_SEND,
    ) -> None:
        self._wanted = wanted
        self._families = families
        self._own = own
        self._look = look
        self._longest = longest
        self._failing = ""

    async def run(self) -> None:
        """For ever."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            wanted = self._wanted()
            if wanted is None:
                due = clock()
            elif clock() >= due:
                due = clock() + wanted.interval
                await self._push(wanted)
            await asyncio.sleep(min(self._look, max(0.05, due - clock())) if wanted else self._look)

    async def _push(self, wanted: MetricPush) -> None:
        """Once; what is wrong is said once until it works again."""
        try:
            async with asyncio.timeout(self._longest):
                status = await self._send(wanted)
            problem = "" if 200 <= status < 300 else f"it answered {status}"
        except TimeoutError:
            problem = "no answer in time"
        except (OSError, HttpError, ValueError) as error:
            problem = str(error) or type(error).__name__
        if problem and not self._failing:
            _LOG.warning("metrics cannot be sent to %s: %s; trying again", wanted.endpoint, problem)
        elif self._failing and not problem:
            _LOG.info("metrics are sent to %s again", wanted.endpoint)
        self._failing = problem

    async def _send(self, wanted: MetricPush) -> int:
        from weft.agent.metrics.otlp import otlp_of  # noqa: PLC0415 - its classes cost memory, which few agents need

        body = otlp_of(await self._families(), self._own(), time.time_ns())
        parts = urlsplit(wanted.endpoint)
        host = parts.hostname or ""
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or _PORTS[parts.scheme]
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        answer = await ask(
            Server(host=host, port=port, tls=tls, name=host_and_port(host, port) if tls is None else host),
            "POST",
            parts.path if parts.path.strip("/") else _PATH,
            body=gzip.compress(body, _FAST),
            headers=headers,
            timeout=self._longest,
        )
        return answer.status
