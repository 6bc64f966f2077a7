"""A compiler that has lived through any edits gives what a new one gives: nothing that is remembered is ever stale."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.edits import EditedMesh, document_variants, workload_variants
from support.examples import examples
from weft.discovery.compiler import MeshCompiler
from weft.mesh.model import Mesh
from weft.mesh.policies.peerauthentication import PeerPolicies
from weft.mesh.steps import Step
from weft.model.document import ObjectKey
from weft.model.snapshot import ConfigSnapshot
from weft.xds.snapshot import TYPES, XdsSnapshot

KEYS = tuple(document_variants())
PROXIES = tuple(workload_variants())
Edit = Callable[[EditedMesh], None]

FLAG = st.booleans()
PUT_DOCUMENT = st.builds(
    lambda key, variant, created, again: lambda mesh: mesh.put_document(key, variant, created=created, again=again),
    st.sampled_from(KEYS),
    st.integers(0, 4),
    st.sampled_from((0.0, 0.0, 1.0, 2.0)),
    FLAG,
)
REMOVE_DOCUMENT = st.builds(lambda key: lambda mesh: mesh.documents.pop(key, None), st.sampled_from(KEYS))
PUT_WORKLOAD = st.builds(
    lambda proxy, variant, again: lambda mesh: mesh.put_workload(proxy, variant, again=again),
    st.sampled_from(PROXIES),
    st.integers(0, 4),
    FLAG,
)
REMOVE_WORKLOAD = st.builds(lambda proxy: lambda mesh: mesh.workloads.pop(proxy, None), st.sampled_from(PROXIES))
EDITS = st.lists(
    st.lists(st.one_of(PUT_DOCUMENT, PUT_DOCUMENT, PUT_WORKLOAD, REMOVE_DOCUMENT, REMOVE_WORKLOAD), max_size=4),
    min_size=1,
    max_size=8,
)


def sent(snapshot: XdsSnapshot) -> object:
    """All that a proxy may be sent, when, and what its resources say of themselves."""
    found = {
        (kind, each.name): (each.version, each.requires, each.origins)
        for kind in TYPES
        for each in snapshot.of_type(kind)
    }
    eager = {(kind, name) for kind, name in found if snapshot.eager(kind, name) is not None}
    gotten = {(kind, name) for kind, name in found if snapshot.get(kind, name) is not None}
    return found, eager, gotten, snapshot.problems


def outcome(compiler: MeshCompiler, snapshot: ConfigSnapshot, overlap: PeerPolicies | None) -> tuple[Mesh, object]:
    """The mesh, and all that can be seen of it."""
    mesh = compiler.build(snapshot, Step(overlap))
    proxies = {each.proxy: sent(compiler.compile(mesh, each, snapshot.revision)) for each in snapshot.workloads}
    compiler.published()
    return mesh, (proxies, mesh.problems, mesh.acceptance, mesh.settings, mesh.defaults)


class Lived:
    """One compiler that sees every state, compared with a new one at each. It is given documents in any order."""

    def __init__(self, seed: int) -> None:
        self.compiler = MeshCompiler()
        self.random = random.Random(seed)
        self.peers: PeerPolicies | None = None
        self.revision = 0

    def check(self, edited: EditedMesh) -> None:
        self.revision += 1
        snapshot = edited.snapshot(self.revision)
        overlap = self.peers if self.random.random() < 0.3 else None
        mesh, found = outcome(self.compiler, self.shuffled(snapshot), overlap)
        _, expected = outcome(MeshCompiler(), snapshot, overlap)
        assert found == expected
        if self.random.random() < 0.2:
            self.compiler.idle()
        self.peers = mesh.peers

    def shuffled(self, snapshot: ConfigSnapshot) -> ConfigSnapshot:
        if self.random.random() < 0.5:
            return snapshot
        documents = list(snapshot.documents)
        self.random.shuffle(documents)
        return dataclasses.replace(snapshot, documents=tuple(documents))


def everything(seed: int) -> EditedMesh:
    """A mesh in which some variant of nearly every document is."""
    chance = random.Random(seed)
    edited = EditedMesh()
    for key in KEYS:
        if chance.random() < 0.8:
            edited.put_document(key, chance.randrange(5), created=chance.choice((0.0, 1.0)), again=True)
    return edited


@given(EDITS, st.integers(0, 2**16))
@settings(max_examples=examples(40), deadline=None)
def test_any_edits_of_a_small_mesh(edits: list[list[Edit]], seed: int) -> None:
    lived, edited = Lived(seed), EditedMesh()
    for step in edits:
        for edit in step:
            edit(edited)
        lived.check(edited)


@given(EDITS, st.integers(0, 2**16))
@settings(max_examples=examples(40), deadline=None)
def test_any_edits_of_a_full_mesh(edits: list[list[Edit]], seed: int) -> None:
    lived, edited = Lived(seed), everything(seed)
    lived.check(edited)
    for step in edits:
        for edit in step:
            edit(edited)
        lived.check(edited)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_variant_after_every_other(key: ObjectKey) -> None:
    """Each document comes, becomes each of its variants, goes, and comes again, in a full mesh."""
    lived, edited = Lived(0), everything(1)
    for variant in (*range(len(document_variants()[key])), None, 0, 0):
        if variant is None:
            edited.documents.pop(key, None)
        else:
            edited.put_document(key, variant, created=0.0, again=True)
        lived.check(edited)
