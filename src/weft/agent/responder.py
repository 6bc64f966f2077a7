"""The responder's process, kept by the agent: started, adopted, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from weft.agent.errors import AgentError
from weft.processes.log import end_of_log, limit_log
from weft.processes.name import ProcessName
from weft.processes.watch import ProcessWatch, start_process

_LOG = logging.getLogger(__name__)
HOSTS = ("127.0.0.1", "::1")
"""Where it answers: what is led to the own host comes to one of them, by the version of IP."""
_READY = 10.0
_POLL = 0.02
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_LOG_CHECK = 30.0
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")


class ResponderProcess:
    """One responder at `port`, which reads `names` and asks `upstream` (none: the resolvers of this host). `started` is
    called with each new process, and with None when it has ended."""

    def __init__(
        self,
        directory: Path,
        names: Path,
        port: int,
        upstream: tuple[str, ...],
        started: Callable[[ProcessName | None], None],
    ) -> None:
        self._directory = directory
        self._names = names
        self._port = port
        self._upstream = upstream
        self._started = started
        self._process: ProcessWatch | None = None
        self._stopping = False

    @property
    def log(self) -> Path:
        """What it says."""
        return self._directory / "dns.log"

    def adopt(self, name: ProcessName) -> None:
        """Look after one that an earlier agent started."""
        self._process = ProcessWatch(name)

    async def start(self) -> None:
        """Start it and wait until it answers. AgentError if it does not."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            try:
                self._process = start_process(self._command(), self._directory, environment, log, ignoring=True)
            except OSError as error:
                raise AgentError(f"cannot start the DNS responder: {error.strerror}") from error
        self._started(self._process.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY):
                while self._process.running:
                    if await self._listens() and self._process.running:
                        return
                    await asyncio.sleep(_POLL)
        why = end_of_log(self.log, lines=3)
        raise AgentError(f"the DNS responder does not answer at port {self._port}; the end of {self.log}: {why}")

    async def run(self) -> None:
        """Start it again whenever it ends, later each time, for ever."""
        delay = _FIRST_DELAY
        while True:
            began = asyncio.get_running_loop().time()
            if self._process is not None:
                await self._process.wait()
            if self._stopping:
                return
            if asyncio.get_running_loop().time() - began > _LONGEST_DELAY:
                delay = _FIRST_DELAY
            self._started(None)
            _LOG.warning("the DNS responder ended; starting it again in %.1f s", delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            try:
                await self.start()
            except AgentError as error:
                _LOG.warning("%s", error)

    async def run_log_limit(self) -> None:
        """Keep its log from filling the disk, for ever."""
        while True:
            limit_log(self.log)
            await asyncio.sleep(_LOG_CHECK)

    async def stop(self, grace: float) -> None:
        """Stop it."""
        self._stopping = True
        if self._process is not None:
            await self._process.stop(grace)
        self._started(None)

    def leave(self) -> None:
        """Let it run on without us."""
        if self._process is not None:
            self._process.forget()

    def _command(self) -> tuple[str, ...]:
        listen = [word for host in HOSTS for word in ("--listen", f"[{host}]:{self._port}")]
        upstream = [word for each in self._upstream for word in ("--upstream", each)]
        module = (sys.executable, "-P", "-m", "weft.agent.dns.process")
        return (*module, "--names", str(self._names), *listen, *upstream)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOSTS[0], self._port)
        except OSError:
            return False
        writer.close()
        return True
