"""What agents, and whoever starts them, import: it is memory and time of every workload of a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ENTRIES = (
    "weft.local.up",
    "weft.cli.run",
    "weft.cli.host",
    "weft.agent.host.host",
    "weft.agent.gateway",
    "weft.agent.run",
)


@pytest.mark.parametrize("entry", _ENTRIES)
def test_what_only_a_control_plane_needs_stays_out(entry: str) -> None:
    code = f"import sys, {entry}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert entry in loaded
    assert not loaded & {"grpc", "aiohttp", "weft.mesh.views", "weft.mesh.build", "weft.xds.filters.chain"}
    assert not [
        name for name in loaded if name.startswith(("weft.schema.kinds", "weft.schema.rules", "weft.discovery"))
    ]


def test_whoever_starts_a_mesh_imports_no_protobuf() -> None:
    code = "import sys, weft.local.up; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"google.protobuf", "cryptography", "grpc"} & set(done.stdout.split())


def test_a_control_plane_imports_no_library_of_what_it_was_not_told_to_ask() -> None:
    code = "import sys, weft.controlplane.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"redis", "dns.message", "asyncpg", "kubernetes"} & set(done.stdout.split())
