"""The lifecycle of one agent process: start, keep, stop in order; or restart the agent in the same process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine

from weft.agent.errors import AgentError
from weft.agent.proxy import Proxy
from weft.agent.signals import HANDLED, Signals
from weft.agent.state import stop_processes
from weft.processes.notify import VARIABLES, Notifier
from weft.processes.signals import hold_signals, release_signals

_LOG = logging.getLogger(__name__)
RESTART = -1
"""Instead of an exit code: this process shall execute the agent anew."""


class Lifecycle(ABC):
    """What `run_workload` and `run_gateway` share. A subclass says what is started and waited for, and `hurrying` how a
    person may shorten the end."""

    hurrying = "; a second signal (Ctrl-C) skips the waiting"

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.signals = Signals()
        self.manager = Notifier() if proxy.parameters.carrier is None else Notifier({})  # the node speaks for all
        self._group = asyncio.TaskGroup()
        self._kept: list[asyncio.Task[None]] = []

    @abstractmethod
    async def live(self) -> int:
        """Start everything, then wait for the end; the exit code. Cancelled when the agent is asked to stop."""

    async def stop_application(self) -> int | None:
        """Stop the application, if there is one; its exit code."""
        return None

    def forward(self, number: int) -> None:  # noqa: B027 - a gateway has none
        """Pass a signal on to the application, if there is one."""

    def leave_application(self) -> None:  # noqa: B027 - a gateway has none
        """Let the application, if there is one, run on without this agent."""

    def keep(self, *work: Coroutine[object, object, None]) -> None:
        """Run `work` in the background until the stop."""
        self._kept += [self._group.create_task(one) for one in work]

    async def run(self) -> int:
        """Run until the end; an exit code, or RESTART."""
        with self.signals.handled(self.forward):
            return await self.run_asked()

    async def run_asked(self) -> int:
        """The same where somebody else hears the signals, and asks (`signals`) for what is to be done."""
        try:
            async with self._group:
                return await self._run()
        except BaseException:
            await asyncio.to_thread(stop_processes, self.proxy.state, 1.0)
            raise

    async def _run(self) -> int:
        signals = self.signals
        self.keep(self.manager.run())
        life = self._group.create_task(self._live_or_say_why())
        stop = self._group.create_task(_wait(signals.stop))
        restart = self._group.create_task(self._asked_to_restart())
        await asyncio.wait({life, stop, restart}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(stop, restart)
        code: int | None = life.result() if life.done() else None
        await _cancel(life)
        if code is None and not signals.stop.is_set():
            await self.leave()
            return RESTART
        self.manager.stopping()
        if code is None:
            _LOG.info("stopping in order%s", self.hurrying if signals.first else "")
            await self.proxy.drain(signals.hurry)
        stopped = await self.stop_application()
        await _cancel(*self._kept)
        await self.proxy.stop(signals.hurry)
        if code is None:
            code = stopped if stopped is not None else 128 + signals.first
        return code

    async def why_not_restart(self) -> str:
        """Why another agent could not take over now; empty if it could."""
        return ""

    async def _asked_to_restart(self) -> None:
        """Wait for that, and for what keeps it from being done to be mended."""
        while True:
            await self.signals.restart.wait()
            if not (why := await self.why_not_restart()):
                return
            _LOG.error("the agent is not restarted, and goes on as it is: %s", why)
            self.signals.restart.clear()

    async def leave(self) -> None:
        """Let what runs go on without this agent."""
        _LOG.info("restarting the agent; Envoy and the application go on")
        self.manager.reloading()
        await _cancel(*self._kept)
        self.leave_application()
        await self.proxy.leave()

    async def _live_or_say_why(self) -> int:
        try:
            return await self.live()
        except AgentError as error:
            _LOG.error("%s", error)
            return error.exit_code


def run_lifecycle(make: Callable[[], Lifecycle]) -> int:
    """Run what `make` gives, in an event loop of its own; restarts the agent in place when it is asked to."""

    async def live() -> int:
        return await make().run()

    hold_signals(HANDLED)
    try:
        code = asyncio.run(live())
    except AgentError as error:
        _LOG.error("%s", error)
        code = error.exit_code
    if code == RESTART:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    release_signals(HANDLED)
    return code


def child_environment() -> dict[str, str]:
    """Our environment without what is the agent's own business."""
    own = ("WEFT_TOKEN", "WEFT_JOIN_TOKEN", *VARIABLES)
    return {name: value for name, value in os.environ.items() if name not in own}


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _cancel(*tasks: asyncio.Task[None] | asyncio.Task[int]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
