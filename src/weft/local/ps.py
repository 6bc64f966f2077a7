"""The processes of a home as they are now, for `weft ps`: what `weft up` wrote down, and what agents did."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.agent.state import State, read_state, workload_directories
from weft.local.addresses import gateway_urls
from weft.local.client import AdminClient, read_endpoints
from weft.local.record import Phase, UnitStatus, UpState, control_plane_of, owner_of, read_up
from weft.model.workload import WorkloadState
from weft.processes.name import ProcessName
from weft.settings.home import Home

_ADMIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One workload, gateway or control plane. `since` in Unix seconds (0: not known), `memory` in bytes, all processes
    together; `started_by` is ``weft up``, the name of the host
    that carries it, or ``hand``; `metrics` where Prometheus reads its proxy's."""

    name: str
    kind: str
    namespace: str
    state: str
    ending: str = ""
    restarts: int = 0
    since: float = 0.0
    started_by: str = "weft up"
    pids: dict[str, int] = field(default_factory=dict)
    memory: int = 0
    addresses: tuple[str, ...] = ()
    metrics: str = ""


def process_rows(home: Home) -> list[ProcessRow]:
    """Every process of `home`, also those started by hand. Blocks."""
    return asyncio.run(_rows(home))


def unit_names(home: Home) -> list[str]:
    """The names of the processes of the mesh that is up."""
    state = read_up(home)
    return [unit.name for unit in state.units] if state else []


def is_up(home: Home) -> bool:
    """Whether a `weft up` runs."""
    return owner_of(home) is not None


async def _rows(home: Home) -> list[ProcessRow]:
    up = read_up(home) or UpState(0, "")
    units = [unit if is_up(home) else _as_left(unit) for unit in up.units]
    rows = [await _row(home, unit) for unit in units]
    if not any(unit.kind == "control-plane" for unit in units):
        by_hand = [await _row(home, unit) for unit in _by_hand_control_plane(home)]
        rows[:0] = [dataclasses.replace(row, started_by="hand") for row in by_hand]
    known = {(unit.namespace, unit.workload) for unit in units}
    for directory in workload_directories(home):
        state = read_state(directory)
        if state is None or (state.namespace, state.name) in known or not _processes(state):
            continue
        kind = "gateway" if state.listen or not state.outbound else "workload"
        answering = _host_of(home, state) if state.carrier else state
        lives = answering is not None and answering.agent is not None and answering.agent.alive
        phase = Phase.RUNNING if lives else Phase.CRASHED
        unit = UnitStatus(state.name, kind, state.namespace, state.name, phase, state.agent if lives else None)
        by = answering.name if state.carrier and answering is not None else "hand"
        rows.append(dataclasses.replace(await _row(home, unit), started_by=by))
    return rows + [row for directory in workload_directories(home) for row in _waiting(read_state(directory))]


def _waiting(host: State | None) -> list[ProcessRow]:
    """The workloads that a host wants and cannot start."""
    if host is None or host.agent is None or not host.agent.alive:
        return []
    return [
        ProcessRow(each.name, "workload", each.namespace, "waiting", each.why, started_by=host.name)
        for each in host.waiting
    ]


def _host_of(home: Home, state: State) -> State | None:
    """What the agent wrote that looks after a workload which shares a proxy."""
    name, _, namespace = state.carrier.partition(".")
    return read_state(home.workload(namespace, name))


def _by_hand_control_plane(home: Home) -> Iterable[UnitStatus]:
    process = control_plane_of(home)
    if process is not None:
        yield UnitStatus("control-plane", "control-plane", "", "", Phase.RUNNING, process)


def _as_left(unit: UnitStatus) -> UnitStatus:
    """What became of a process whose `weft up` was killed."""
    alive = unit.process is not None and unit.process.alive
    return dataclasses.replace(unit, phase=unit.phase if alive else Phase.STOPPED)


async def _row(home: Home, unit: UnitStatus) -> ProcessRow:
    state = read_state(home.workload(unit.namespace, unit.workload)) if unit.workload else None
    processes = _processes(state) if state is not None else {}
    if unit.process is not None and unit.process.alive:
        processes["agent" if unit.workload else "control plane"] = unit.process
    unhealthy = unit.phase is Phase.RUNNING and state is not None and state.state is not WorkloadState.HEALTHY
    return ProcessRow(
        unit.name,
        unit.kind,
        unit.namespace,
        str(state.state) if state is not None and unhealthy else str(unit.phase),
        unit.ending,
        unit.restarts,
        unit.since,
        pids={what: process.pid for what, process in processes.items()},
        memory=sum(_memory(process.pid) for process in processes.values()),
        addresses=await _addresses(home, unit, state),
        metrics=str(state.metrics) if state is not None and state.metrics is not None and "agent" in processes else "",
    )


def _processes(state: State) -> dict[str, ProcessName]:
    """The living ones."""
    every = {
        "application": state.application,
        "proxy": state.envoy,
        "responder": state.responder,
        "relay": state.confinement,
        "agent": state.agent,
    }
    return {what: process for what, process in every.items() if process is not None and process.alive}


async def _addresses(home: Home, unit: UnitStatus, state: State | None) -> tuple[str, ...]:
    if unit.process is None and not (state is not None and state.carrier):
        return ()
    if unit.kind == "gateway":
        admin = AdminClient(home, timeout=_ADMIN_SECONDS, here=True)
        return tuple((await gateway_urls(home, admin, (unit.namespace, unit.workload)) or {}).values())
    if unit.kind == "control-plane":
        endpoints = read_endpoints(home)
        return (endpoints.admin,) if endpoints else ()
    return tuple(str(port.application) for port in state.ports) if state else ()


def _memory(pid: int) -> int:
    """Resident bytes of a process and what it started in its own session, as far as they can be seen."""
    import psutil  # noqa: PLC0415 - only here

    try:
        size: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
    return size


def age(since: float, now: float) -> str:
    """The time between two moments (Unix seconds): ``12s``, ``5m``, ``3h``, ``2d``."""
    seconds = max(0, int(now - since))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
