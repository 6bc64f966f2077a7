"""A real mesh for tests: `running_mesh` starts one in a temporary directory and stops it afterwards."""

from __future__ import annotations

from weft.testing.mesh import MeshDidNotStartError, RunningMesh, running_mesh

__all__ = ["MeshDidNotStartError", "RunningMesh", "running_mesh"]
