"""Facts about a mesh that is up, for programs: addresses, process ids, ports."""

from __future__ import annotations

from typing import Any

from weft.agent.state import State
from weft.local.client import AdminClient, RefusedError, UnreachableError, read_endpoints
from weft.local.names import CONTROL_PLANE
from weft.local.seats import AgentSeat
from weft.local.supervisor import Supervisor
from weft.settings.home import Home

_ADDRESS_SECONDS = 900
_PATIENCE = 5.0


def mesh_state(supervisor: Supervisor) -> dict[str, Any]:
    """Admin API, dashboard (an address that works once), home, workloads and processes, as ``weft demo -o json`` and
    ``weft up -o json`` print them."""
    home = supervisor.plan.home
    endpoints = read_endpoints(home)
    keys = [unit.launch.key for unit in supervisor.units.values() if unit.launch.kind in ("workload", "host")]
    keys += sorted(supervisor.plan.carried())
    statuses = [unit.status.value for unit in supervisor.units.values()]
    process = supervisor.units[CONTROL_PLANE].status.value.process
    return {
        "admin": endpoints.admin if endpoints else None,
        "dashboard": dashboard_address(home),
        "home": str(home.root),
        "token_file": str(home.admin_token),
        "workloads": [_workload(key[1], AgentSeat(home, key).state) for key in keys],
        "control_plane_pid": process.pid if process else None,
        "processes": [{"name": one.name, "state": one.phase} for one in statuses],
    }


def dashboard_address(home: Home) -> str | None:
    """An address that opens the dashboard once, within a quarter of an hour; None if nobody gives one."""
    try:
        client = AdminClient(home, timeout=_PATIENCE, here=True)
        answer = client.call("POST", "dashboard", {"seconds": _ADDRESS_SECONDS})
        return str(answer["url"])
    except (UnreachableError, RefusedError):
        return None


def _workload(name: str, state: State | None) -> dict[str, Any]:
    state = state or State(name, "")
    return {
        "name": name,
        "pid": state.agent.pid if state.agent else None,
        "envoy_pid": state.envoy.pid if state.envoy else None,
        "app_pid": state.application.pid if state.application else None,
        "inbound": str(state.ports[0].inbound) if state.ports else None,
    }
