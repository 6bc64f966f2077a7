"""The life of one agent process: start, keep, stop in order; or make place for a new agent of the same process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import msgspec

from weft.agent.errors import AgentError
from weft.agent.processes import wait_first
from weft.agent.proxy import Proxy
from weft.agent.signals import Signals
from weft.agent.state import State, stop_processes

_LOG = logging.getLogger(__name__)
_RESTARTED = "WEFT_AGENT_RESTARTED"
RESTART = -1
"""Instead of an exit code: this process shall execute the agent anew."""


class Life(ABC):
    """What `run_workload` and `run_gateway` share. A subclass says what starting and living means."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.signals = Signals()
        self.kept: list[asyncio.Task[None]] = []

    @abstractmethod
    async def live(self) -> int:
        """Start everything, then wait for the end; returns the exit code. Cancelled when it is asked to stop."""

    @abstractmethod
    async def stop_application(self) -> int | None:
        """Stop the application, if there is one; its exit code."""

    @abstractmethod
    def forward(self, number: int) -> None:
        """Pass a signal on to the application."""

    @abstractmethod
    def leave_application(self) -> None:
        """Let the application run on without this agent."""

    async def run(self) -> int:
        """Live until the end; an exit code, or RESTART."""
        with self.signals.handled(self.forward):
            try:
                async with asyncio.TaskGroup() as group:
                    return await self._run(group)
            except BaseException:
                stop_processes(self.proxy.state, 1.0)
                raise

    async def _run(self, group: asyncio.TaskGroup) -> int:
        code: int | None = None
        life = group.create_task(self._live_or_say_why())
        life.add_done_callback(lambda _: self._ended.set())
        await wait_first(self._ended, self.signals.stop, self.signals.restart)
        if not life.done() and self.signals.restart.is_set() and not self.signals.stop.is_set():
            await _cancelled(life)
            await self._cancel_kept()
            self.leave_application()
            await self.proxy.leave()
            return RESTART
        if life.done():
            code = life.result()
        await _cancelled(life)
        await self._stop_in_order()
        return code if code is not None else self._stopped_code

    async def _stop_in_order(self) -> None:
        if self.signals.stop.is_set():
            _LOG.info("stopping; press Ctrl-C again to hurry")
        await self.proxy.drain(self.signals.hurry)
        code = await self.stop_application()
        self._stopped_code = code if code is not None else 128 + (self.signals.first or signal.SIGTERM)
        await self._cancel_kept()
        await self.proxy.stop(self.signals.hurry)

    async def _cancel_kept(self) -> None:
        for task in self.kept:
            task.cancel()
        await asyncio.gather(*self.kept, return_exceptions=True)

    async def _live_or_say_why(self) -> int:
        try:
            return await self.live()
        except AgentError as error:
            _LOG.error("%s", error)
            return error.exit_code
