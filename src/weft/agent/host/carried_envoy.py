"""The Envoy of a node as one of the workloads sees it that it carries: its own names without the prefix, its own
listeners, nothing of its neighbours'."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from weft.agent.envoy import Envoy, NotReadyError, Standing
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.envoy_place import EnvoyPlace
from weft.agent.ports import bind_error
from weft.agent.series import SERIES_QUERY
from weft.aio.cell import Cell
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import SocketAddress
from weft.processes.watch import ProcessWatch
from weft.xds.nodes.names import END, CarriedName, generation_mark

_LOG = logging.getLogger(__name__)
_POLL = 0.05
_PATIENCE = 3.0
_CONNECTED = "control_plane.connected_state"
_SERIES = SERIES_QUERY.partition("filter=")[0]


class CarriedAdmin(EnvoyAdmin):
    """What the node's admin interface says of one workload."""

    def __init__(self, socket: Path, whose: CarriedName, placed: NetworkNamespace | None = None) -> None:
        super().__init__(socket)
        self._prefix = whose.prefix
        self._inbound = f"{whose.prefix}inbound|"
        self._mark = generation_mark(placed.generation) if placed is not None else ""
        self._own_names = f"%28%5E%7C%5C.%29{whose.prefix}"
        """What begins with the prefix, at the start of a name or of a part of it: others' prefixes may end like it."""

    async def connected(self) -> bool:
        """Whether the node has a stream to the control plane."""
        return (await self._connected()).get(_CONNECTED) == 1

    async def named_listeners(self) -> dict[str, tuple[SocketAddress, ...]]:
        """The workload's own: those for its application only if they are in the namespace where it lives."""
        return {
            name: where
            for name, where in (await super().named_listeners()).items()
            if name.startswith(self._prefix) and (name.startswith(self._inbound) or name.endswith(self._mark))
        }

    async def listens(self, but: NetworkNamespace | None = None) -> bool:
        """Whether it listens at all, or for its application elsewhere than in the namespace `but`."""
        found = {name for name, where in (await self.named_listeners()).items() if where}
        if but is None:
            return bool(found)
        mark = generation_mark(but.generation)
        return any(not name.startswith(self._inbound) and not name.endswith(mark) for name in found)

    async def gauges(self, pattern: str) -> dict[str, int] | None:
        """As `EnvoyAdmin` has it, of the workload's own, by the names that its sidecar would have."""
        found = await self._own("")
        wanted = re.compile(pattern)
        return None if found is None else {name: value for name, value in found.items() if wanted.search(name)}

    async def values(self, kind: Literal["Counters", "Gauges"]) -> dict[str, int]:
        """The workload's own, and whether the node is connected."""
        found = await self._own(f"&type={kind}") or {}
        return found | (await self._connected() if kind == "Gauges" else {})

    async def body(self, path: str) -> bytes:
        """The answer to what agents ask, of the workload's own."""
        if path == SERIES_QUERY:
            path = f"{_SERIES}filter=^weft%5C.{self._prefix}"
        elif path.startswith("/config_dump"):
            path = f"{path}&name_regex=%5E{self._prefix}.*"
        return self.plain(await super().body(path))

    async def drain_listeners(self) -> None:
        """Nothing: it would be everybody's. A workload's listeners go when it has deregistered."""

    async def _connected(self) -> dict[str, int]:
        return await super().gauges(f"^{_CONNECTED}$") or {}

    async def _own(self, more: str) -> dict[str, int] | None:
        found = await self._values(f"filter={self._own_names}{more}")
        return None if found is None else {self.plain(name.encode()).decode(): each for name, each in found.items()}

    def plain(self, text: bytes) -> bytes:
        """As the workload's own Envoy would say it."""
        prefix = self._prefix.encode()
        return text.replace(b"weft." + prefix + b".", b"weft.").replace(prefix, b"")


class NodeAdmin(EnvoyAdmin):
    """What a node's admin interface says of the process; each workload that it carries tells its own."""

    def __init__(self, socket: Path) -> None:
        super().__init__(socket)
        self._asking: asyncio.Future[tuple[SocketAddress, ...]] | None = None

    async def listeners(self) -> tuple[SocketAddress, ...]:
        """As `EnvoyAdmin` has it. Workloads that come together wait together: who asks while an answer is under way is
        given that one, so that it takes Envoy as long for many as for one."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(super().listeners())
        return await asyncio.shield(self._asking)

    async def values(self, kind: Literal["Counters", "Gauges"]) -> dict[str, int]:
        """All but those of workloads."""
        return {name: value for name, value in (await super().values(kind)).items() if END not in name}


class CarriedEnvoy(Envoy):
    """The node's `envoy`, for the workload `whose`: started and stopped by the node alone. `ready`: it runs and has the
    workload's listeners."""

    def __init__(
        self, envoy: Envoy, place: EnvoyPlace, whose: CarriedName, placed: NetworkNamespace | None = None
    ) -> None:
        super().__init__(place, _nobody, lambda: 0)
        self._envoy = envoy
        self._placed = placed
        self.admin = CarriedAdmin(envoy.place.admin_socket, whose, placed)

    @property
    def process(self) -> ProcessWatch | None:
        """The node's."""
        return self._envoy.process

    def start(self) -> None:
        """Nothing: the node has started it."""

    async def wait_ready(
        self, listeners: tuple[SocketAddress, ...], timeout: float, say: Callable[[SocketAddress], str] = str
    ) -> None:
        """Wait until the node listens on all of `listeners`; NotReadyError after `timeout` seconds."""
        missing: tuple[str, ...] = ()
        clock = asyncio.get_running_loop().time
        patience, said = clock() + _PATIENCE, False
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if self._envoy.ready.value:
                        found = await self._envoy.admin.listeners()
                        missing = tuple(say(one) for one in listeners if one not in found)
                        if not missing and await self._listens_inside():
                            self.ready.set(True)
                            return
                    if missing and not said and clock() > patience:
                        said = True
                        _LOG.info("waiting for the host's Envoy to listen on %s", ", ".join(missing))
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            wanted = f"it does not listen on {', '.join(missing)}" if missing else "it is not ready itself"
            raise NotReadyError(
                f"the host's Envoy was not ready after {timeout:g} s: {wanted}; see `weft proxy status`"
            ) from error

    async def _listens_inside(self) -> bool:
        """Whether what is for the application is taken where that lives, and not in a namespace that was there before
        under the same name."""
        placed = self._placed
        if placed is None:
            return True
        found = await self.admin.named_listeners()
        mark = generation_mark(placed.generation)
        inner = [each for name, where in found.items() if name.endswith(mark) for each in where]
        for each in inner:
            error = await asyncio.to_thread(bind_error, each.host, each.port, namespace=placed.path)
            if error != errno.EADDRINUSE:
                return False
        return True

    async def run(self, listeners: tuple[SocketAddress, ...], timeout: float) -> None:
        """Follow the node's Envoy, for ever: whoever it carries is not ready while it is not."""
        ready: Cell[bool] = self._envoy.ready
        while True:
            version = ready.version
            if not ready.value:
                self.ready.set(False)
            elif not self.ready.value:
                await self._wait_long(listeners, timeout)
                continue
            await ready.changed(version)

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Nothing: it serves others."""

    async def leave(self) -> None:
        """Nothing."""


def _nobody(_: Standing) -> None:
    """What processes of one's own would be written down by."""
