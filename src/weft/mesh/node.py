"""Nodes: which workloads one Envoy carries, and the view of it, which is the union of their views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.patches import NO_PATCHES
from weft.mesh.view import build_view
from weft.mesh.views import ProxyView, SidecarView
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """Everything the proxy of a node does: what each of the workloads that it carries would have its sidecar do, but
    for patches. These say anything at all, and in an Envoy that holds the keys of others they could use one of theirs.
    Compared by identity."""

    proxy: str
    carried: tuple[SidecarView, ...]


def carried_workloads(memo: Memo, workloads: tuple[Workload, ...], node: Workload) -> tuple[Workload, ...]:
    """The workloads that a node carries: those that it names and that name it, each by its own registration. Neither
    may say so alone, for the node gets what a workload's sidecar would, and the workload opens ports at the node."""
    if node.node is None:
        return ()
    wanted = frozenset(node.node.carries)
    willing = memo.groups(_carrier, _name, workloads).get(node.proxy, ())
    return tuple([each for each in willing if each.proxy in wanted])


def build_node_view(mesh: Mesh, node: Workload, memo: Memo) -> NodeView:
    """The view of a node's proxy. Parts that do not change are the same objects as in the build before."""
    found = [build_view(mesh, each, memo) for each in carried_workloads(memo, mesh.workloads, node)]
    views = [memo(_without_patches, view) if view.patches.all else view for view in found if _is_sidecar(view)]
    return memo.over(_node, views, node.proxy)


def _node(views: tuple[SidecarView, ...], proxy: str) -> NodeView:
    return NodeView(proxy, views)


def _is_sidecar(view: ProxyView) -> TypeGuard[SidecarView]:
    return isinstance(view, SidecarView)


def _without_patches(view: SidecarView) -> SidecarView:
    return replace(view, patches=NO_PATCHES)


def _carrier(workload: Workload) -> tuple[str, ...]:
    return (workload.carrier,) if workload.carrier else ()


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)
