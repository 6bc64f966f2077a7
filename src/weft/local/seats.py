"""The seat of a process in the home: who holds it, whether it is ready, what outlives it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from weft.agent.state import State, read_state, stop_processes
from weft.local.client import AdminClient, RefusedError, UnreachableError
from weft.local.commands import Launch
from weft.local.record import control_plane_of
from weft.model.workload import WorkloadState
from weft.processes.name import ProcessName
from weft.settings.home import Home

_ADMIN_SECONDS = 5.0


class Seat(Protocol):
    """What is known of a process by what it writes into the home, whoever started it."""

    async def holder(self) -> ProcessName | None:
        """The process that runs in this seat."""

    async def ready(self, process: ProcessName) -> bool:
        """Whether `process` holds it and does its work."""

    def outlived(self) -> bool:
        """Whether what it looked after still runs and waits for it."""

    def clear(self) -> None:
        """Stop what outlived it. Blocks."""


def seat_of(home: Home, launch: Launch) -> Seat:
    """The seat of `launch`."""
    return AgentSeat(home, launch.key) if launch.kind != "control-plane" else ControlPlaneSeat(home)


class AgentSeat:
    """The seat of one workload's agent: its directory, with ``state.json``."""

    def __init__(self, home: Home, key: tuple[str, str]) -> None:
        self._directory = home.workload(*key)

    @property
    def state(self) -> State | None:
        """What its agent wrote last."""
        return read_state(self._directory)

    async def holder(self) -> ProcessName | None:
        """The agent, if it runs."""
        state = self.state
        return state.agent if state is not None and state.agent is not None and state.agent.alive else None

    async def ready(self, process: ProcessName) -> bool:
        """Healthy, by the word of this very agent."""
        state = self.state
        return state is not None and state.agent == process and state.state is WorkloadState.HEALTHY

    def outlived(self) -> bool:
        """Whether its Envoy, and its application if it had one, go on."""
        state = self.state
        parts = (state.envoy, state.application) if state is not None else ()
        known = [part for part in parts if part is not None]
        return bool(known) and all(part.alive for part in known)

    def clear(self) -> None:
        """Stop the application, then Envoy."""
        state = self.state
        if state is not None:
            stop_processes(state, 1.0)


class ControlPlaneSeat:
    """The seat of the control plane: ``endpoints.json``, and whether what it names knows the home's token."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._admin = AdminClient(home, timeout=_ADMIN_SECONDS, here=True)

    async def holder(self) -> ProcessName | None:
        """The control plane, if it runs. A pid alone is not believed: it may be another's by now."""
        process = control_plane_of(self._home)
        return process if process is not None and await asyncio.to_thread(self._knows_token) else None

    async def ready(self, process: ProcessName) -> bool:
        """It answers that it is well."""
        return control_plane_of(self._home) == process and await asyncio.to_thread(self._admin.healthy)

    def outlived(self) -> bool:
        """Proxies go on, but nothing is lost when it is away for a second."""
        return False

    def clear(self) -> None:
        """Nothing."""

    def _knows_token(self) -> bool:
        try:
            self._admin.get("version")
        except (UnreachableError, RefusedError):
            return False
        return True
