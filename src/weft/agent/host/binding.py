"""Whom the registration of a node names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from weft.agent.errors import AgentError
from weft.aio.cell import Cell
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import NodeBinding

_LOG = logging.getLogger(__name__)
_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Seat:
    """A workload, by its proxy's name, in the network namespace where it is carried (None: that of the host)."""

    proxy: str
    namespace: NetworkNamespace | None = None


Names = frozenset[Seat]


def node_binding(seats: Names) -> NodeBinding:
    """What the registration of a node says, which names these. Of whoever is, or is to be, in a namespace it says which
    ones: a workload may be in that of the host too while it moves."""
    moved = {each.proxy for each in seats if each.namespace is not None}
    plain = [(each.proxy, each.namespace) for each in seats if each.proxy in moved and each.namespace is None]
    placed = sorted((each.proxy, each.namespace) for each in seats if each.namespace is not None)
    return NodeBinding(tuple(sorted({each.proxy for each in seats})), (*sorted(plain), *placed))


class Binding:
    """`ask` says whom the registration shall name, `run` sees to it by `enrol` (which is given how long it may wait).
    `names` are those that are wanted now or next; of these the registration names the `able`, who have their keys:
    Envoy would refuse listeners of others. Whoever is `told` may be started: the control plane has been told
    of all that was known then. Nobody who asks waits for a control plane."""

    def __init__(self, enrol: Callable[[float | None], Awaitable[object]], told: Names = frozenset()) -> None:
        self._enrol = enrol
        self._asked: Cell[tuple[Names, Names]] = Cell((told, told))
        self.names = told
        self.able = told
        self.told = told

    def ask(self, names: Names, able: Names | None = None) -> None:
        """Have these named from now on, as soon as they are `able` (all of them, unless it is said)."""
        asked = (names, names if able is None else names & able)
        if asked != self._asked.value:
            self._asked.set(asked)

    async def tell(self, wait: float | None = None) -> None:
        """Register those that were asked for last. AgentError when that is refused, or takes longer than `wait`."""
        asked = self._asked.value
        self.names, self.able = asked  # as long as this takes: an answer that is lost does not say for whom it was
        self.told &= self.names
        await self._enrol(wait)
        self.told = self.names

    async def run(self, *, due: bool = False) -> None:
        """Register whenever others are asked for (and at once if that is `due`), again after a refusal, for ever."""
        said = ""
        while True:
            version = self._asked.version
            due = due or self._asked.value != (self.names, self.able)
            if not due:
                await self._asked.changed(version)
                continue
            try:
                await self.tell(wait=0)
            except AgentError as error:
                if str(error) != said:
                    said = str(error)
                    _LOG.warning("%s; workloads that are new wait, the others go on as they are", error)
                await self._pause(version)
            else:
                due, said = False, ""

    async def _pause(self, version: int) -> None:
        try:
            async with asyncio.timeout(_AGAIN):
                await self._asked.changed(version)
        except TimeoutError:
            return
