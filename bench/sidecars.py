"""What a sidecar's Envoy weighs in a mesh of many services, beside a bare Envoy and beside one in an empty mesh.

Three callers in turn: one that says which ten services it uses, one that says nothing and is told on demand, one that
is told everything.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.backend import BODY
from bench.edits_documents import OTHERS, service
from bench.figures import series
from bench.machine import Cores, resident_bytes
from bench.mesh import BenchMesh
from bench.processes import accepts, envoy_command, free_port, started, wait_until
from bench.registrations_seed import register_services
from bench.templates import write_configuration
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
USED = 10
ENDPOINTS = 10
_CHUNK = 250
CALLERS: Mapping[str, Sequence[str]] = {
    "uses ten": [word for number in range(USED) for word in ("--uses", f"service-{number}.{OTHERS}")],
    "on demand": (),
    "all": ("--scope", "all"),
}


def measure_sidecars(directory: Path, _: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report."""
    services, rounds = (100, 1) if quick else (1000, 3)
    bare: list[float] = []
    weights: dict[str, list[float]] = {}
    allocated: dict[str, list[float]] = {}
    for number in range(rounds):
        where = directory / f"round-{number}"
        where.mkdir()
        bare.append(_bare(where))
        for mesh_size in (0, services):
            for name, (resident, inside) in _mesh(where, mesh_size).items():
                key = name if mesh_size else f"empty mesh, {name}"
                weights.setdefault(key, []).append(resident)
                allocated.setdefault(key, []).append(inside)
    return {
        "services": services,
        "endpoints_of_each": ENDPOINTS,
        "bare_envoy_mb": series(bare),
        "sidecar_mb": {name: series(found) for name, found in weights.items()},
        "sidecar_more_than_bare_mb": {
            name: series([one - other for one, other in zip(found, bare, strict=True)])
            for name, found in weights.items()
        },
        "sidecar_allocated_mb": {name: series(found) for name, found in allocated.items()},
    }


def _bare(directory: Path) -> float:
    """The megabytes of an Envoy with one listener that answers by itself."""
    port = free_port()
    configuration = write_configuration("backend", directory, "bare", port=str(port), body=BODY)
    with started("bare", envoy_command(configuration), directory) as process:
        wait_until("the bare Envoy listens", lambda: accepts(port), process=process)
        return resident_bytes(process.pid) / 1e6


def _mesh(directory: Path, services: int) -> dict[str, tuple[float, float]]:
    """Megabytes of each caller's Envoy in a mesh of so many services: resident, and allocated by its own count."""
    mesh = BenchMesh(directory / f"home-{services}", directory, Cores(-1, -1))
    home = Home(mesh.home)
    for below in (home.root, home.control_plane):
        below.mkdir(mode=0o700)
    asyncio.run(register_services(home, services, ENDPOINTS, OTHERS))
    found: dict[str, tuple[float, float]] = {}
    with ExitStack() as stack:
        stack.enter_context(mesh.serving("--lease", "600"))
        for first in range(0, services, _CHUNK):
            several = range(first, min(first + _CHUNK, services))
            mesh.call("POST", "documents", "---\n".join(service(f"service-{one}") for one in several))
        for name, words in CALLERS.items():
            caller = name.replace(" ", "-")
            with mesh.running(caller, IDLE, *(words if services else ())):
                wait_until("all confirmed", lambda: _confirmed(mesh))
                admin = EnvoyAdmin(home.socket(home.workload("default", caller) / "admin.sock"))
                allocated = asyncio.run(admin.gauges("^server.memory_allocated$")) or {}
                found[name] = resident_bytes(mesh.envoy_pid(caller)) / 1e6, sum(allocated.values()) / 1e6
    return found


def _confirmed(mesh: BenchMesh) -> bool:
    proxies = mesh.call("GET", "proxies")["proxies"]
    return bool(proxies) and all(one["revision_acked"] == one["revision"] for one in proxies)
