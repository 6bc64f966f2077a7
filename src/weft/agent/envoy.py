"""Envoy as a process (`envoy_place` says how it is started): watched, restarted with back-off, replaced, stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.envoy_place import EnvoyPlace
from weft.agent.errors import AgentError
from weft.agent.hot_restart import (
    HotRestart,
    check_start,
    first_of,
    forget_request,
    options_of,
    requested,
    runs_binary,
    why_not,
)
from weft.agent.last_words import advice, last_words
from weft.aio.cell import Cell
from weft.model.workload import SocketAddress
from weft.processes.log import limit_log
from weft.processes.name import ProcessName
from weft.processes.watch import ProcessWatch, Starting, here, wait_first

_LOG = logging.getLogger(__name__)
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_STEADY = 60.0
"""After running this long an exit is a new failure, not the old one."""
_POLL = 0.05
_PATIENCE = 3.0
_LOG_CHECK = 30.0
_CUT_OFF_POLL = 1.0
_SERVES = "LIVE"
_BEGIN_PATIENCE = 20.0
"""So long another Envoy has to begin, as far as that it says of itself that it waits for its configuration."""
_FORMER_GRACE = 5.0


class NotReadyError(AgentError):
    """Envoy runs, but does not serve yet."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Why another Envoy shall take over. `needed`: the bootstrap is another, perhaps because the control plane can no
    longer be reached with that of the Envoy that runs; where none can take over, Envoy is stopped and started. `asked`:
    somebody has, and no other one has taken over since."""

    reason: str
    needed: bool = False
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Which processes there are: `envoy` serves, was started as `hot` says (None: nobody can take over from it);
    `successor` is about to take over, `former` ends after `envoy` has taken over from it. `bootstrap` and
    `successor_bootstrap` are digests of what they were started with."""

    envoy: ProcessName | None = None
    hot: HotRestart | None = None
    successor: ProcessName | None = None
    former: ProcessName | None = None
    bootstrap: str = ""
    successor_bootstrap: str = ""


class Envoy:
    """One Envoy, or two while one takes over from the other. `ready`: whether it runs with its first configuration;
    `told` hears of each change of its processes, which are started with as many worker threads as `workers` says."""

    def __init__(self, place: EnvoyPlace, told: Callable[[Standing], None], workers: Callable[[], int]) -> None:
        self.place = place
        self.admin = EnvoyAdmin(place.admin_socket)
        self.ready = Cell(False)
        self.standing = Standing()
        self.starting: Starting = here
        self._told = told
        self._workers = workers
        self._process: ProcessWatch | None = None
        self._successor: ProcessWatch | None = None
        self._former: ProcessWatch | None = None
        self._former_until = inf
        self._wish = Wish("")
        self._wished = asyncio.Event()
        self._stopping = False

    @property
    def process(self) -> ProcessWatch | None:
        """The process that serves."""
        return self._process

    def adopt(self, standing: Standing) -> None:
        """Look after Envoys that another agent started."""
        self.standing = standing
        self._process, self._successor, self._former = (
            ProcessWatch(name) if name is not None else None
            for name in (standing.envoy, standing.successor, standing.former)
        )
        self._await_former()
        self.ready.set(True)

    def start(self) -> None:
        """Start a new process. Raises AgentError when the binary cannot be executed."""
        self.place.admin_socket.unlink(missing_ok=True)
        hot = first_of(self.place.directory)
        digest = self.place.bootstrap_digest()
        forget_request(self.place.directory)  # this is another one
        self._process = self._launch(hot, lambda name: self._tell(Standing(name, hot, bootstrap=digest)))

    def restart(self, wish: Wish) -> None:
        """Have another Envoy take over from the one that runs, as soon as `run` gets to it."""
        self._wish = wish
        self._wished.set()

    def differs(self) -> str:
        """In what the Envoy that runs is another than would be started now; empty if in nothing. Blocks."""
        name = self.standing.envoy
        if name is None:
            return ""
        if not runs_binary(name, self.place.binary):
            return f"another Envoy is installed ({self.place.binary})"
        words, wanted = options_of(name), self.place.options(self._workers())
        return "Envoy is started with other options now" if words and words[: len(wanted)] != wanted else ""

    def _tell(self, standing: Standing) -> None:
        self.standing = standing
        self._told(standing)

    def _launch(self, hot: HotRestart | None, note: Callable[[ProcessName], None]) -> ProcessWatch:
        """Start one, of which `note` hears. Whoever has heard of one that cannot be started hears what was before."""
        before = self.standing
        try:
            return self.place.start(self._workers(), hot, note, self.starting)
        except AgentError:
            if self.standing != before:
                self._tell(before)
            raise

    async def wait_ready(
        self,
        listeners: tuple[SocketAddress, ...],
        timeout: float,
        say: Callable[[SocketAddress], str] = str,
    ) -> None:
        """Wait until Envoy serves, listening on all of `listeners`, which `say` names for people.

        Raises AgentError with the end of its log when it ends first, NotReadyError with what is missing after
        `timeout` seconds.
        """
        process = self._process
        missing: tuple[str, ...] = ()
        patience = asyncio.get_running_loop().time() + _PATIENCE
        try:
            async with asyncio.timeout(timeout):
                while process is not None and process.running:
                    if await self.admin.ready():
                        found = await self.admin.listeners()
                        missing = tuple(say(one) for one in listeners if one not in found)
                        if not missing:
                            self.ready.set(True)
                            return
                    if missing and asyncio.get_running_loop().time() > patience:
                        patience = inf
                        _LOG.info("waiting for Envoy to listen on %s", ", ".join(missing))
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            wanted = f"it does not listen on {', '.join(missing)}" if missing else "it has no configuration yet"
            where = f"see `weft proxy status` and {self.place.where_it_speaks}"
            raise NotReadyError(f"Envoy was not ready after {timeout:g} s: {wanted}; {where}") from error
        raise AgentError(f"Envoy ended while it started{self._how_it_ended()}")

    async def run(self, listeners: tuple[SocketAddress, ...], timeout: float) -> None:
        """Watch Envoy and start it again whenever it ends, later each time, for ever."""
        clock = asyncio.get_running_loop().time
        delay = _FIRST_DELAY
        while True:
            since = clock()
            await self._serve()
            if self._stopping:
                return
            self.ready.set(False)
            await self._end_others()
            self._tell(Standing())
            if clock() - since > _STEADY:
                delay = _FIRST_DELAY
            _LOG.warning("Envoy ended; starting it again in %.1f s%s", delay, self._how_it_ended())
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            try:
                self.start()
                await self._wait_long(listeners, timeout)
                _LOG.info("Envoy is back")
            except AgentError as error:
                _LOG.warning("%s", error)

    async def _serve(self) -> None:
        """Wait until Envoy ends; another takes over whenever that is asked for."""
        hot = self.standing.hot
        if self._process is not None and self._successor is not None and hot is not None:  # an earlier agent began
            await self._take_over(self._process, self._successor, hot.next)
        while self._process is not None and self._process.running:
            former = self._former
            patience = max(0.0, self._former_until - asyncio.get_running_loop().time()) if former else None
            events = (self._process.ended, former.ended if former else None, None if former else self._wished)
            happened = await wait_first(*events, timeout=patience)
            if former is not None and not (happened and former.running):
                await former.stop(_FORMER_GRACE)
                self._former = None
                self._tell(replace(self.standing, former=None))
            elif self._wished.is_set() and self._process.running:
                self._wished.clear()
                await self._succeed(self._process, self._wish)
                if not self._wished.is_set():
                    forget_request(self.place.directory)

    async def _succeed(self, process: ProcessWatch, wish: Wish) -> None:
        """Have another Envoy take over from `process`, or say why not."""
        if wish.needed and self.standing.bootstrap == self.place.bootstrap_digest():
            return  # an earlier agent's successor has it
        if wish.asked and not requested(self.place.directory):
            return  # it was wished twice, and is done
        hot, binary, directory = self.standing.hot, self.place.binary, self.place.directory
        why = "it was not started so that another can take over"
        if hot is None or (why := await asyncio.to_thread(why_not, process.name, binary)):
            if wish.needed:
                await self._restart_with_gap(process, wish.reason, why)
            else:
                _LOG.warning("%s; the one that runs goes on until the next start: %s", wish.reason, why)
        elif why := await asyncio.to_thread(check_start, binary, directory, self.place.options(self._workers())):
            _LOG.error("%s, but it does not start; the one that runs goes on: %s", wish.reason, why)
        else:
            if not wish.needed and not await self._connected(process, wish.reason):
                return
            _LOG.info("%s; another one takes over", wish.reason)
            await self._try_to_succeed(process, hot.next)

    async def _connected(self, process: ProcessWatch, reason: str) -> bool:
        """Wait until `process` has a control plane, without which another would never begin. False if it ends first,
        or something else is wished."""
        waits = False
        while process.running and await self.admin.cut_off():
            if not waits:
                waits = True
                _LOG.warning("%s; this waits until there is a connection to a control plane", reason)
            if await wait_first(process.ended, self._wished, timeout=_CUT_OFF_POLL):
                return False
        return True

    async def _restart_with_gap(self, process: ProcessWatch, reason: str, why: str) -> None:
        """Stop it; `run` starts another."""
        _LOG.warning("%s; restarting Envoy, with a gap: %s", reason, why)
        await process.stop(_FORMER_GRACE)

    async def _try_to_succeed(self, process: ProcessWatch, hot: HotRestart) -> None:
        """As often as it needs: once one was started, the one that runs has no admin interface any more."""
        clock = asyncio.get_running_loop().time
        delay, late = _FIRST_DELAY, clock() + _BEGIN_PATIENCE
        while process.running:
            try:
                self._successor = self._launch(hot, self._note_successor)
            except AgentError as error:
                _LOG.error("%s; the one that runs goes on", error)
                return
            state = await self._take_over(process, self._successor, hot)
            if state == _SERVES or not process.running:
                return
            if state:
                late = clock() + _BEGIN_PATIENCE
            elif self._wish.needed and clock() > late:
                await self._restart_with_gap(process, self._wish.reason, "no other one begins beside it")
                return
            _LOG.warning("another Envoy has not taken over; trying again in %.1f s%s", delay, self._how_it_ended())
            await wait_first(process.ended, timeout=delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    def _note_successor(self, name: ProcessName) -> None:
        self._tell(replace(self.standing, successor=name, successor_bootstrap=self.place.bootstrap_digest()))

    async def _take_over(self, process: ProcessWatch, successor: ProcessWatch, hot: HotRestart) -> str:
        """Wait until `successor`, which was started as `hot` says, has taken over, one of both has ended, or it would
        be of no use. One that waits for its configuration is waited for: any other would have to, with nobody serving.

        Returns what it has said of itself last (``LIVE``: it has taken over); empty if it has not begun.
        """
        clock = asyncio.get_running_loop().time
        found, late = "", clock() + _BEGIN_PATIENCE
        while process.running and successor.running:
            found = await self.admin.state(hot.epoch) or found
            if found == _SERVES:
                self._process, self._successor, self._former = successor, None, process
                self._await_former()
                bootstrap = self.standing.successor_bootstrap
                self._tell(Standing(successor.name, hot, former=process.name, bootstrap=bootstrap))
                forget_request(self.place.directory)
                _LOG.info("another Envoy has taken over; the one before has %d s to finish", self.place.drain)
                return found
            if self._obsolete or (clock() > late and not found):
                break
            if clock() > late:
                late = inf
                _LOG.warning("the other Envoy has no configuration yet; until it has, the one before goes on")
            await asyncio.sleep(_POLL)
        successor.send_group(signal.SIGKILL)  # on SIGTERM it would first ask the one before to end
        await successor.wait()
        self._successor = None
        hot.forget_beginner()
        self._tell(replace(self.standing, successor=None, successor_bootstrap=""))
        return found

    @property
    def _obsolete(self) -> bool:
        """Whether the bootstrap has changed since the successor was started."""
        return self._wished.is_set() and self.standing.successor_bootstrap != self.place.bootstrap_digest()

    def _await_former(self) -> None:
        """It ends by itself; if its successor was killed meanwhile, nobody tells it to."""
        self._former_until = asyncio.get_running_loop().time() + self.place.drain + _FORMER_GRACE

    async def _end_others(self) -> None:
        """End those that run beside the one that serves, which would have its ports."""
        for one in (self._successor, self._former):
            if one is not None:
                await one.stop(_FORMER_GRACE)
        self._successor = self._former = None

    async def _wait_long(self, listeners: tuple[SocketAddress, ...], timeout: float) -> None:
        """Wait until Envoy is ready or ends, and complain meanwhile: a control plane may be away for long."""
        while True:
            try:
                await self.wait_ready(listeners, timeout)
            except NotReadyError as error:
                _LOG.warning("%s", error)
            else:
                return

    async def run_log_limit(self) -> None:
        """Keep Envoy's log from filling the disk, for ever."""
        while True:
            limit_log(self.place.log)
            limit_log(self.place.access_log)
            await asyncio.sleep(_LOG_CHECK)

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Stop all processes and remove what they shared, and the socket."""
        self._stopping = True
        await asyncio.gather(*(one.stop(grace, hurry) for one in self._all()))
        if self.standing.hot is not None:
            self.standing.hot.remove(self.place.directory)
        self._tell(Standing())
        self.place.admin_socket.unlink(missing_ok=True)

    async def leave(self) -> None:
        """Let it run on without us."""
        self._stopping = True
        for one in self._all():
            one.forget()

    def _all(self) -> tuple[ProcessWatch, ...]:
        return tuple(one for one in (self._process, self._successor, self._former) if one is not None)

    def _how_it_ended(self) -> str:
        code = self._process.exit_code if self._process else None
        text = f" (exit code {code})" if code is not None else ""
        words = last_words(self.place.log)
        text += advice(words)
        return f"{text}; the end of {self.place.log}:\n{textwrap.indent(words, '    ')}" if words else text
