"""What a node's Envoy holds for the workloads that it carries: for every document of the corpus the same as their
sidecars, under names of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.test_golden import references
from support.corpus import INPUTS, documents_of, workloads_for, world_documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.node import build_node_view
from weft.mesh.patches import NO_PATCHES
from weft.mesh.view import build_view
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import trial_of
from weft.model.workload import NodeBinding, Scope, Workload
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource
from weft.xds.nodes.build import build_node_xds
from weft.xds.nodes.names import carried_name
from weft.xds.services.names import XDS_CLUSTER
from weft.xds.snapshot import EXTENSION, TYPES, XdsSnapshot

NODE = "host.default"


def compiled(
    path: Path, scope: Scope = Scope.ALL, *, doors: bool = False
) -> tuple[XdsSnapshot, dict[str, XdsSnapshot]]:
    """What a node is given that carries all workloads of a corpus' mesh, and what their sidecars would be."""
    documents = documents_of(path.read_text(), path.name)
    given = tuple(sorted((*world_documents(), *documents), key=lambda document: document.key))
    names = [each.proxy for each in workloads_for(documents) if each.gateway is None]
    carried = [
        replace(each, carrier=NODE, scope=scope, uses=()) for each in workloads_for(documents) if each.proxy in names
    ]
    node = Workload("host", "default", "host", node=NodeBinding(tuple(names)))
    memo = Memo()
    memo.begin()
    trials = tuple(trial_of(each) for each in given if each.key.kind == "EnvoyFilter")
    mesh = build_mesh(ConfigSnapshot(1, given, (*carried, node), trials=trials), memo)
    sidecars = {
        each.proxy: build_xds(replace(build_view(mesh, each, memo), patches=NO_PATCHES), 1, memo) for each in carried
    }
    return build_node_xds(replace(build_node_view(mesh, node, memo), doors=doors), 1, memo), sidecars


def strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a resource as JSON, with the name of its field."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from strings(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, key)
    elif isinstance(value, str):
        yield key, value


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_it_is_the_same_under_names_of_its_own(path: Path) -> None:
    node, sidecars = compiled(path)
    assert node.problems == ()
    assert sum(1 for kind in TYPES for _ in node.of_type(kind)) == sum(
        1 for each in sidecars.values() for kind in TYPES for _ in each.of_type(kind)
    )
    for proxy, sidecar in sidecars.items():
        whose = carried_name(proxy)
        for kind in TYPES:
            for resource in sidecar.of_type(kind):
                carried = node.get(kind, whose.prefix + resource.name)
                assert carried is not None, resource.name
                described = describe_resource(carried)
                for reference in references(described):
                    if reference[1] in (XDS_CLUSTER, "%UPSTREAM_CLUSTER%") or (
                        reference[0] == EXTENSION and "|" not in reference[1]
                    ):
                        continue
                    assert reference[1].startswith(whose.prefix), (resource.name, reference)
                for name, text in strings(described):
                    if name in ("filename", "path") and not text.startswith(("/", "%")):
                        assert text.startswith(whose.directory), (resource.name, name, text)
                text = json.dumps(described)
                for owned, plain in ((f"weft.{whose.prefix}.", "weft."), (f"weft.{whose.prefix}", "weft")):
                    text = text.replace(owned, plain)
                text = text.replace(whose.prefix, "").replace(whose.directory, "")
                assert json.loads(text) == describe_resource(resource), resource.name
