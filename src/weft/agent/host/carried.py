"""One workload of a host: kept as it is wanted, started again after a crash, stopped without its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from functools import partial
from pathlib import Path

from weft.agent.errors import EXIT_FAILED, AgentError
from weft.agent.group import grouped
from weft.agent.host.binding import Names, Seat
from weft.agent.host.carried_envoy import CarriedAdmin
from weft.agent.lifecycle import Lifecycle
from weft.agent.parameters import RunParameters
from weft.agent.proxy import Proxy
from weft.agent.run import workload_lifecycle
from weft.aio.cell import Cell
from weft.model.identity import proxy_name
from weft.model.network_namespace import NetworkNamespace
from weft.telemetry.log import ABOUT
from weft.xds.nodes.names import CarriedName

_LOG = logging.getLogger(__name__)
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_POLL = 0.05
_GONE_AFTER = 5.0
_STEADY = 60.0
"""After running this long an end is a new failure, not the old one."""


def seats_of(parameters: RunParameters | None) -> Names:
    """Where a workload is to be carried; nowhere while the network namespace that it is to live in is not there."""
    if parameters is None:
        return frozenset()
    placed = parameters.placed
    if placed is not None and not placed.generation:
        return frozenset()
    return frozenset([Seat(proxy_name(parameters.name, parameters.namespace), placed)])


class CarriedWorkload:
    """`want` says what it shall be, `run` sees to it until `stop`; then it has `ended`. It begins when the one of the
    same name `before` it has ended."""

    def __init__(self, parameters: RunParameters, node: Proxy, before: asyncio.Event | None = None) -> None:
        self.key = (parameters.namespace, parameters.name)
        self.ended = asyncio.Event()
        self._wanted: Cell[RunParameters | None] = Cell(parameters)
        self._node = node
        self._before = before
        self._life: Lifecycle | None = None
        self._proxy: Proxy | None = None
        self._living: Names = frozenset()
        self._hurried = False
        self._left = False

    @property
    def seats(self) -> Names:
        """Where it is carried, and where it is to be; nowhere yet while its network namespace is not there."""
        return self._living | seats_of(self._wanted.value)

    @property
    def log(self) -> Path:
        """What its application says."""
        namespace, name = self.key
        stem = name if namespace == "default" else f"{name}.{namespace}"
        return self._node.parameters.home.logs / f"{stem}.log"

    def want(self, parameters: RunParameters) -> None:
        """Be this from now on; nothing happens where it is that already."""
        if parameters != self._wanted.value:
            self._wanted.set(parameters)
            self._ask_to_stop()

    def stop(self) -> None:
        """End in order, and stay so."""
        self._wanted.set(None)
        self._ask_to_stop()

    def hurry(self) -> None:
        """Wait for nobody."""
        self._hurried = True
        if self._life is not None:
            self._life.signals.hurry.set()

    def leave(self) -> None:
        """End this agent's part, and let the application run on."""
        self._left = True
        self._wanted.set(None)
        if self._life is not None:
            self._life.signals.restart.set()

    def remove_files(self) -> None:
        """Once the node's Envoy has ended: remove what it has read."""
        if self._proxy is not None:
            self._proxy.remove_files()

    async def run(self) -> None:
        """See to it until it shall be no more."""
        ABOUT.set(self.key[1])
        try:
            if self._before is not None:
                await self._before.wait()
            failures = 0
            while (parameters := self._wanted.value) is not None:
                version, began = self._wanted.version, asyncio.get_running_loop().time()
                if not seats_of(parameters):  # its network namespace is not there, and whoever looks will say when
                    await self._wanted.changed(version)
                    continue
                code = await self._live(parameters)
                if self._wanted.version != version:
                    failures = 0
                    continue
                if code == 0:
                    _LOG.info("it is not started again")
                    await self._wanted.changed(version)
                    continue
                steady = asyncio.get_running_loop().time() - began > _STEADY
                failures = 1 if steady else failures + 1
                delay = min(_FIRST_DELAY * 2.0 ** (failures - 1), _LONGEST_DELAY)
                _LOG.warning("starting it again in %g s", delay)
                try:
                    async with asyncio.timeout(delay):
                        await self._wanted.changed(version)
                except TimeoutError:
                    continue
        finally:
            self.ended.set()

    async def _live(self, parameters: RunParameters) -> int:
        """One life; its exit code."""
        version = self._wanted.version
        self._living = seats_of(parameters)
        try:
            if parameters.group is not None:
                parameters = await self._unless_changed(grouped(parameters)) or parameters
            if self._wanted.version != version:
                return 0
            if parameters.placed is not None:
                await self._listen_no_more(parameters.placed)
            make = partial(workload_lifecycle, parameters, carrier=self._node, output=self.log)
            self._life = await asyncio.to_thread(make)  # it stops what is left of others, which takes its time
            self._proxy = self._life.proxy
            if self._wanted.version != version:
                self._ask_to_stop()  # it ends in order all the same: it may have adopted an application
            return await self._life.run_asked()
        except AgentError as error:
            _LOG.error("%s", error)
            return error.exit_code
        except Exception:  # a fault of ours with one workload must not cost the others theirs
            _LOG.exception("a fault of weft's own")
            if self._life is not None:
                self._life.proxy.release()
            return EXIT_FAILED
        finally:
            self._life = None
            if parameters.network_namespace is not None and not self._left | self._hurried:
                await self._listen_no_more()
            self._living = frozenset()

    async def _listen_no_more(self, kept: NetworkNamespace | None = None) -> None:
        """Until its listeners are gone, but for those in the namespace that is `kept`. Of one that comes before, with
        the same path and port, Envoy would take the socket over, which is in the namespace of before."""
        namespace, name = self.key
        admin = CarriedAdmin(self._node.envoy.place.admin_socket, CarriedName(name, namespace))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_AFTER):
                while await admin.listens(kept):  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(_POLL)

    async def _unless_changed(self, asked: Coroutine[None, None, RunParameters]) -> RunParameters | None:
        """What is `asked` for, unless something else is wanted before that is known."""
        known = asyncio.ensure_future(asked)
        changed = asyncio.ensure_future(self._wanted.changed(self._wanted.version))
        await asyncio.wait({known, changed}, return_when=asyncio.FIRST_COMPLETED)
        for each in (known, changed):
            each.cancel()
        found, _ = await asyncio.gather(known, changed, return_exceptions=True)
        if isinstance(found, Exception):
            raise found
        return None if isinstance(found, BaseException) else found

    def _ask_to_stop(self) -> None:
        if self._life is None:
            return
        if self._left:
            self._life.signals.restart.set()
        else:
            self._life.signals.stop.set()
        if self._hurried:
            self._life.signals.hurry.set()
