"""From the mesh to one proxy's XdsSnapshot, with everything that is equal computed once."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.view import build_view
from weft.model.workload import Workload
from weft.xds.build import build_xds
from weft.xds.snapshot import XdsSnapshot


class MeshCompiler:
    """The `Compiler` of a real control plane."""

    def __init__(self) -> None:
        self._memo = Memo()

    def begin(self) -> None:
        """A new mesh follows: results that the previous one did not use are forgotten."""
        self._memo.begin()

    def compile(self, mesh: Mesh, workload: Workload, revision: int) -> XdsSnapshot:
        """What the workload's proxy should hold."""
        return build_xds(build_view(mesh, workload, self._memo), revision, self._memo)
