"""Facts about a mesh that is up, for programs: addresses, process ids, ports."""

from __future__ import annotations

from typing import Any

from weft.local.client import read_endpoints
from weft.local.supervisor import Supervisor


def mesh_state(supervisor: Supervisor) -> dict[str, Any]:
    """Admin API, home, workloads and control plane, as ``weft demo --json`` and ``weft up --json`` print them."""
    home = supervisor.plan.home
    endpoints = read_endpoints(home)
    return {
        "admin": endpoints.admin if endpoints else None,
        "home": str(home.root),
        "token_file": str(home.admin_token),
        "workloads": [_workload(child.pid, child.ready or {}) for child in supervisor.workloads],
        "control_plane_pid": supervisor.control_plane.pid if supervisor.control_plane else None,
    }


def gateway_listeners(supervisor: Supervisor) -> dict[str, dict[str, str]]:
    """Where each gateway's listeners are: name -> listener port -> ``HOST:PORT``."""
    found: dict[str, dict[str, str]] = {}
    for child, entry in zip(supervisor.gateways, supervisor.plan.mesh.gateways, strict=True):
        host = "127.0.0.1" if entry.bind == "0.0.0.0" else entry.bind  # noqa: S104 - compared, not bound
        ports = (child.ready or {}).get("listen") or ()
        found[child.name] = {str(listener): f"{host}:{port}" for listener, port in ports}
    return found


def _workload(pid: int, state: dict[str, Any]) -> dict[str, Any]:
    ports = state.get("ports") or [{}]
    inbound = ports[0].get("inbound") or {}
    return {
        "name": state.get("name"),
        "pid": pid,
        "envoy_pid": (state.get("envoy") or {}).get("pid"),
        "app_pid": (state.get("application") or {}).get("pid"),
        "inbound": f"{inbound['host']}:{inbound['port']}" if inbound else None,
    }
