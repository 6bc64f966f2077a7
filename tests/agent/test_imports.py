"""What agents, and whoever starts them, import: it is memory and time of every workload of a machine."""

from __future__ import annotations

import subprocess
import sys


def imported(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_only_a_control_plane_needs_stays_out_of_agents() -> None:
    agents: tuple[str, ...] = (
        "weft.local.up",
        "weft.cli.run",
        "weft.cli.host",
        "weft.agent.host.host",
        "weft.agent.gateway",
    )
    agents += ("weft.cli.pod", "weft.agent.pod.sidecar", "weft.agent.pod.waiting")
    loaded = imported(*agents)
    assert set(agents) <= loaded
    assert not loaded & {"grpc", "aiohttp", "weft.mesh.views", "weft.mesh.build", "weft.xds.filters.chain"}
    assert not [
        name for name in loaded if name.startswith(("weft.schema.kinds", "weft.schema.rules", "weft.discovery"))
    ]


def test_whoever_starts_a_mesh_imports_no_protobuf() -> None:
    assert not {"google.protobuf", "cryptography", "grpc"} & imported("weft.local.up")


def test_a_control_plane_imports_no_library_of_what_it_was_not_told_to_ask() -> None:
    assert not {"redis", "dns.message", "asyncpg", "kubernetes"} & imported("weft.controlplane.serve")
