"""A real mesh for tests: `running_mesh` starts one in a temporary directory and stops it afterwards.

`MeshProcesses` has its processes one by one, to be killed and started again. `until` and `eventually` wait with a
deadline.
"""

from __future__ import annotations

from weft.testing.mesh import MeshDidNotStartError, RunningMesh, running_mesh
from weft.testing.polling import eventually, until
from weft.testing.processes import MeshProcesses, Proc

__all__ = ["MeshDidNotStartError", "MeshProcesses", "Proc", "RunningMesh", "eventually", "running_mesh", "until"]
