"""Nodes: which workloads one Envoy carries, and the view of it, which is the union of their views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.patches import NO_PATCHES
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.canonical import canonical_revision, canonical_service
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import Workload

_DOORS = (1, 40)
"""The first version of Envoy of which that was tried."""


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """Everything the proxy of a node does: what each of the workloads that it carries would have its sidecar do, but
    for patches. These say anything at all, and in an Envoy that holds the keys of others they could use one of theirs.
    `doors`: its workloads call each other without a connection (`weft.xds.nodes.local`). Compared by identity."""

    proxy: str
    carried: tuple[CarriedView, ...]
    doors: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class CarriedView:
    """What the sidecar of a workload would do, and the words of its certificate's subject: its service, and which
    revision of it. `namespace` is the network namespace of its application (None: the host's). Compared by identity."""

    view: SidecarView
    service: str
    revision: str
    namespace: NetworkNamespace | None = None


def carried_workloads(memo: Memo, workloads: tuple[Workload, ...], node: Workload) -> tuple[Workload, ...]:
    """The workloads that a node carries: those that it names and that name it, each by its own registration. Neither
    may say so alone, for the node gets what a workload's sidecar would, and the workload opens ports at the node."""
    if node.node is None:
        return ()
    willing = memo.groups(_carrier, _name, workloads).get(node.proxy, ())
    return node.node.taken(willing)


def node_view_steps(mesh: Mesh, node: Workload, memo: Memo) -> Iterator[None]:
    """Make the parts of which `build_node_view` consists, a little at a time: it finds them made."""
    for each in carried_workloads(memo, mesh.workloads, node):
        build_view(mesh, each, memo)
        yield


def build_node_view(mesh: Mesh, node: Workload, memo: Memo) -> NodeView:
    """The view of a node's proxy. Parts that do not change are the same objects as in the build before."""
    carried = []
    for each in carried_workloads(memo, mesh.workloads, node):
        view = build_view(mesh, each, memo)
        if isinstance(view, SidecarView):
            plain = memo(_without_patches, view) if view.patches.all else view
            given = (canonical_service(each), canonical_revision(each), _namespace(memo, each))
            carried.append(memo(CarriedView, plain, *given))
    return memo.over(_node, carried, node.proxy, has_doors(node.envoy))


def has_doors(envoy: str) -> bool:
    """Whether neighbours call each other within an Envoy of this version (empty: the one that was tried)."""
    return not envoy or tuple(int(part) for part in envoy.split(".")[:2]) >= _DOORS


def _node(carried: tuple[CarriedView, ...], proxy: str, doors: bool) -> NodeView:
    return NodeView(proxy, carried, doors)


def _namespace(memo: Memo, workload: Workload) -> NetworkNamespace | None:
    """The same object for as long as it is the same, however often the workload registers."""
    where = workload.network_namespace
    return None if where is None else memo(NetworkNamespace, where.path, where.generation)


def _without_patches(view: SidecarView) -> SidecarView:
    return replace(view, patches=NO_PATCHES)


def _carrier(workload: Workload) -> tuple[str, ...]:
    return (workload.carrier,) if workload.carrier else ()


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)
