"""Workloads that an earlier agent of a node carried and nobody wants any more: taken out of the file unseen."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient
from weft.agent.errors import AgentError
from weft.agent.host.binding import Seat
from weft.agent.proxy import Proxy, agent_socket
from weft.agent.proxy_secret import ProxySecret
from weft.agent.state import (
    DirectoryLock,
    read_state,
    stop_processes,
    without_processes,
    workload_directories,
    write_state,
)
from weft.model.identity import proxy_name
from weft.model.workload import WorkloadState
from weft.settings.home import Home
from weft.telemetry.log import ABOUT
from weft.xds.nodes.names import carried_name

_LOG = logging.getLogger(__name__)


def left_behind(home: Home, carrier: str) -> dict[Seat, Path]:
    """The directories of workloads that an agent of the node `carrier` has started and not ended."""
    found = {}
    for directory in workload_directories(home):
        state = read_state(directory)
        if state is None or state.carrier != carrier:
            continue
        if state.state is not WorkloadState.STARTING or any(name.alive for name in state.processes):
            found[Seat(proxy_name(state.name, state.namespace), state.network_namespace)] = directory
    return found


class Leftover:
    """One of them; `run` ends it, and then it has `ended`."""

    def __init__(self, seat: Seat, directory: Path, node: Proxy) -> None:
        whose = carried_name(seat.proxy)
        self.key = (whose.namespace, whose.name)
        self.seats = frozenset([seat])
        self.ended = asyncio.Event()
        self._directory = directory
        self._node = node
        self._files = CertificateFiles(directory, whose=whose)

    async def run(self) -> None:
        """Have callers go elsewhere, then stop its application. Nothing of it if it has an agent of its own by now."""
        ABOUT.set(self.key[1])
        lock = DirectoryLock(self._directory)
        try:
            if lock.acquire() and self._is_ours():
                _LOG.info("not wanted any more; stopping what an earlier agent has left of it")
                await self._deregister()
                await asyncio.to_thread(self._stop)
        except OSError as error:
            _LOG.warning("cannot stop what an earlier agent has left of it: %s", error)
        finally:
            lock.release()
            self.ended.set()

    def remove_files(self) -> None:
        """Once the node's Envoy has ended: remove the key that it has read."""
        if not self._node.parameters.control_plane.server:
            with contextlib.suppress(OSError):
                self._files.remove()

    def _is_ours(self) -> bool:
        state = read_state(self._directory)
        return state is not None and state.carrier == self._node.name

    async def _deregister(self) -> None:
        asked = self._node.parameters
        namespace, name = self.key
        client = ControlPlaneClient(asked.control_plane, agent_socket(asked), self._files, namespace, name)
        try:
            await client.deregister()
        except (AgentError, OSError) as error:
            _LOG.info("could not deregister (the registration ends by itself): %s", error)

    def _stop(self) -> None:
        state = read_state(self._directory)
        if state is not None:
            stop_processes(state, self._node.parameters.timing.grace)
            ProxySecret(self._directory).remove()
            write_state(self._directory, without_processes(state))
