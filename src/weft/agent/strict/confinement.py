"""The relay of a confined application, kept by its agent: started, adopted, started again, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path

from weft.agent.errors import AgentError
from weft.agent.proxy import Proxy
from weft.agent.seccomp.mode import LOG_FILE, capture_secret
from weft.agent.strict.launching import entering, relaying
from weft.processes.log import end_of_log, limit_log
from weft.processes.name import ProcessName
from weft.processes.watch import ProcessWatch, start_process

_LOG = logging.getLogger(__name__)
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_LOG_CHECK = 30.0
_GRACE = 2.0
_ENVIRONMENT = ("PATH", "LANG", "TZ")
_READY = b"ready "
_LONGEST = 4096


class Confinement:
    """Of the application of `proxy`, which is called at `ports`."""

    def __init__(self, proxy: Proxy, ports: tuple[int, ...]) -> None:
        self._proxy = proxy
        self._ports = ports
        self._process: ProcessWatch | None = None
        self._inside = 0
        self._stopping = False

    @property
    def log(self) -> Path:
        """What the relay says."""
        return self._proxy.directory.absolute() / LOG_FILE

    async def start(self) -> None:
        """Have a relay for the application that runs, or else for one that is about to. AgentError if it cannot be."""
        state, directory = self._proxy.state, self._proxy.directory.absolute()
        member = state.application.pid if state.application is not None and state.application.alive else 0
        upstreams = (upstream.listen.port for upstream in state.upstreams)
        command = relaying(state.capture, state.dns, capture_secret(directory), member, upstreams, self._ports)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        reading, writing = os.pipe()
        try:
            with os.fdopen(writing, "wb") as told, os.fdopen(_appending(self.log), "ab") as log:
                self._process = start_process(command, directory, environment, told, errors=log, ignoring=True)
            self._started(self._process.name)
            said = await asyncio.to_thread(os.read, reading, _LONGEST)
        except OSError as error:
            raise AgentError(f"cannot start the relay of the application's network: {error.strerror}") from error
        finally:
            os.close(reading)
        if not said.startswith(_READY):
            why = said.decode(errors="replace").strip() or end_of_log(self.log, lines=3)
            raise AgentError(f"the application cannot have a network of its own: {why}; see docs/capture.md")
        self._inside = int(said.removeprefix(_READY))

    def adopt(self) -> bool:
        """Take over the relay of an earlier agent if it still runs, with the application."""
        running, application = self._proxy.state.confinement, self._proxy.state.application
        if running is None or not running.alive:
            return False
        self._process = ProcessWatch(running)
        return application is not None and application.alive

    def starting(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """How `command` is started, so that it is confined."""
        return entering(self._inside, command)

    def keeping(self) -> tuple[Coroutine[object, object, None], ...]:
        """The work that keeps the relay, to be run as tasks."""
        return self._run(), self._run_log_limit()

    async def stop(self) -> None:
        """End it: the application is gone, and the namespaces with it."""
        self._stopping = True
        await self.end()

    async def end(self) -> None:
        """End what runs, such as one that an earlier agent has left without its application."""
        if self._process is not None:
            await self._process.stop(_GRACE)
        self._started(None)

    def leave(self) -> None:
        """Let it run on, to be adopted."""
        self._stopping = True
        if self._process is not None:
            self._process.forget()

    async def _run(self) -> None:
        """Start it again whenever it ends, later each time, for ever. Meanwhile nothing gets out or in."""
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
            _LOG.warning("the relay of the application's network ended; starting it again in %.1f s", delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            try:
                await self.start()
            except AgentError as error:
                _LOG.warning("%s", error)

    async def _run_log_limit(self) -> None:
        while True:
            limit_log(self.log)
            await asyncio.sleep(_LOG_CHECK)

    def _started(self, name: ProcessName | None) -> None:
        self._proxy.save(confinement=name)


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
