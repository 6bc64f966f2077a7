"""A node that carries the workloads of a corpus' mesh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.corpus import INPUTS, documents_of, workloads_for, world_documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.node import build_node_view
from weft.mesh.patches import NO_PATCHES
from weft.mesh.view import build_view
from weft.model.network_namespace import NetworkNamespace
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import trial_of
from weft.model.workload import NodeBinding, Scope, Workload
from weft.xds.build import build_xds
from weft.xds.nodes.build import build_node_xds
from weft.xds.snapshot import XdsSnapshot

NODE = "host.default"


def compiled(
    path: Path, scope: Scope = Scope.ALL, *, doors: bool = False, placed: NetworkNamespace | None = None
) -> tuple[XdsSnapshot, dict[str, XdsSnapshot]]:
    """What a node is given that carries all workloads of a corpus' mesh (each `placed` there), and what their sidecars
    would be."""
    documents = documents_of(path.read_text(), path.name)
    given = tuple(sorted((*world_documents(), *documents), key=lambda document: document.key))
    names = [each.proxy for each in workloads_for(documents) if each.gateway is None]
    carried = [
        replace(each, carrier=NODE, scope=scope, uses=(), network_namespace=placed)
        for each in workloads_for(documents)
        if each.proxy in names
    ]
    binding = NodeBinding(tuple(names), tuple((each, placed) for each in names if placed is not None))
    node = Workload("host", "default", "host", node=binding)
    memo = Memo()
    memo.begin()
    trials = tuple(trial_of(each) for each in given if each.key.kind == "EnvoyFilter")
    mesh = build_mesh(ConfigSnapshot(1, given, (*carried, node), trials=trials), memo)
    sidecars = {
        each.proxy: build_xds(replace(build_view(mesh, each, memo), patches=NO_PATCHES), 1, memo) for each in carried
    }
    return build_node_xds(replace(build_node_view(mesh, node, memo), doors=doors), 1, memo), sidecars


def of_case(name: str) -> Path:
    """The documents of a golden case."""
    return next(path for path in INPUTS if path.parent.name == name)
