"""A compiler that has lived through any edits gives a node what a new one gives it, made in steps or at once."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.test_compiler import EDITS, Edit, everything, sent
from support.edits import EditedMesh
from support.examples import examples
from weft.discovery.compiler import MeshCompiler
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import NodeBinding, Workload

NODE = "host.default"


def carrying(snapshot: ConfigSnapshot) -> tuple[ConfigSnapshot, Workload]:
    """The same, with one node that carries all workloads which are no gateways."""
    workloads = [each if each.gateway else replace(each, carrier=NODE) for each in snapshot.workloads]
    names = tuple(each.proxy for each in workloads if each.carrier)
    node = Workload("host", "default", "host", node=NodeBinding(names))
    return replace(snapshot, workloads=(*workloads, node)), node


@given(EDITS, st.integers(0, 2**16), st.booleans())
@settings(max_examples=examples(10), deadline=None)
def test_any_edits(edits: list[list[Edit]], seed: int, full: bool) -> None:
    chance, lived = random.Random(seed), MeshCompiler()
    edited = everything(seed) if full else EditedMesh()
    for revision, step in enumerate(([], *edits), 1):
        for edit in step:
            edit(edited)
        snapshot, node = carrying(edited.snapshot(revision))
        mesh = lived.build(snapshot)
        if chance.random() < 0.5:
            for _ in lived.steps(mesh, node):
                pass
        found = sent(lived.compile(mesh, node, revision))
        lived.published()
        fresh = MeshCompiler()
        assert found == sent(fresh.compile(fresh.build(snapshot), node, revision))
        if chance.random() < 0.2:
            lived.idle()
