"""Naming: the names of a workload, followed and answered, as one part of its agent (``weft run --dns``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from weft.agent.errors import AgentError
from weft.agent.names import NamesFollower
from weft.agent.parameters import DnsParameters
from weft.agent.ports import allocate_dns_port, allocating
from weft.agent.proxy import Proxy
from weft.agent.responder import ResponderProcess
from weft.processes.name import ProcessName

_LOG = logging.getLogger(__name__)
VARIABLE = "WEFT_DNS"
"""By which an application finds the responder: ``127.0.0.1:PORT``."""
_NAMES_SECONDS = 10.0
_TRIES = 5
_GRACE = 2.0


class Naming:
    """The parts that `parameters` ask for, of one proxy."""

    def __init__(self, proxy: Proxy, parameters: DnsParameters) -> None:
        self._proxy = proxy
        self._parameters = parameters
        self._names = NamesFollower(proxy.directory, proxy.client.names)
        self._process = self._responder()

    @property
    def address(self) -> str:
        """Where names are answered."""
        return f"127.0.0.1:{self._proxy.state.dns}"

    async def start(self, *, stays: bool = False) -> None:
        """Have names answered. Where nobody said at which port, and another process has just taken the one that was
        free, it is another, unless it `stays`: an application that runs was told of it, and so were its holder and
        rules. AgentError if it cannot be; `keeping` tries again."""
        left = 1 if self._parameters.port or stays else _TRIES
        while True:
            left -= 1
            try:
                await self._process.start()
                break
            except AgentError:
                await self._process.stop(_GRACE)
                if not left:
                    self._process = self._responder()
                    raise
            with allocating(self._proxy.parameters.home, self._proxy.directory) as allocator:
                self._proxy.save(dns=allocate_dns_port(0, allocator, 0))
            self._process = self._responder()
        _LOG.info("names are answered at %s", self.address)

    def adopt(self) -> bool:
        """Take over the responder of an earlier agent if it still runs."""
        running = self._proxy.state.responder
        if running is None or not running.alive:
            return False
        self._process.adopt(running)
        return True

    def keeping(self) -> tuple[Coroutine[object, object, None], ...]:
        """The work that keeps the names and the responder, to be run as tasks."""
        return (self._names.run(), self._process.run(), self._process.run_log_limit())

    async def known(self) -> None:
        """Wait until there are names to answer; not for ever, since an application may not need any."""
        try:
            async with asyncio.timeout(_NAMES_SECONDS):
                await self._names.known.wait()
        except TimeoutError:
            _LOG.warning("no names after %g s; the application is started without", _NAMES_SECONDS)

    async def stop(self) -> None:
        """End it: the application that asked is gone."""
        await self._process.stop(_GRACE)
        self._names.path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Let the responder run on, to be adopted."""
        self._process.leave()

    def _responder(self) -> ResponderProcess:
        proxy, upstream = self._proxy, self._parameters.upstream
        return ResponderProcess(proxy.directory, self._names.path, proxy.state.dns, upstream, self._started)

    def _started(self, name: ProcessName | None) -> None:
        self._proxy.save(responder=name)
