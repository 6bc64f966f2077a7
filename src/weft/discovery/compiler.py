"""From a ConfigSnapshot to a Mesh, and from it to each proxy's XdsSnapshot, with everything that is equal made once."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.node import build_node_view, node_view_steps
from weft.mesh.steps import NO_STEP, Step
from weft.mesh.view import build_view
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload
from weft.xds.build import build_xds
from weft.xds.nodes.build import build_node_xds, node_steps
from weft.xds.snapshot import XdsSnapshot


class MeshCompiler:
    """The build loop and the hub use one: what the mesh was checked with is what views are made of."""

    def __init__(self) -> None:
        self._memo = Memo()

    def build(self, snapshot: ConfigSnapshot, step: Step = NO_STEP) -> Mesh:
        """The meaning of a snapshot (see `build_mesh`)."""
        self._memo.begin()
        return build_mesh(snapshot, self._memo, step)

    def compile(self, mesh: Mesh, workload: Workload, revision: int) -> XdsSnapshot:
        """What the workload's proxy should hold."""
        if workload.node is not None:
            return build_node_xds(build_node_view(mesh, workload, self._memo), revision, self._memo)
        return build_xds(build_view(mesh, workload, self._memo), revision, self._memo)

    def steps(self, mesh: Mesh, workload: Workload) -> Iterator[None]:
        """See `weft.discovery.snapshots.Compiler`. The proxy of one workload is no long work."""
        if workload.node is not None:
            yield from node_view_steps(mesh, workload, self._memo)
            yield from node_steps(build_node_view(mesh, workload, self._memo), self._memo)

    def published(self) -> None:
        """See `weft.discovery.snapshots.Compiler`."""
        self._memo.end()

    def idle(self) -> None:
        """See `weft.discovery.snapshots.Compiler`."""
        if not self._memo.swept:
            self._memo.sweep()
