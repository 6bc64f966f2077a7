"""The configuration of a node is much at once: it is made in steps, and others have their turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from support.corpus import EVERYTHING, documents_of, workloads_for, world_documents
from support.discovery import TableCompiler, layer, resource
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.peer import Peer
from weft.discovery.stream import StreamEndedError
from weft.mesh.model import Mesh
from weft.model.identity import SpiffeId
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import trial_of
from weft.model.workload import NodeBinding, Scope, Workload
from weft.xds.snapshot import CLUSTER, TYPES, ResourceSet, XdsSnapshot

NODE = "host.default"
NODE_WORKLOAD = Workload("host", "default", "host", node=NodeBinding(()))
IDENTITY = SpiffeId("cluster.local", "default", "host")
Table = Mapping[str, tuple[ResourceSet, ...]]


def compiler_and_mesh() -> tuple[MeshCompiler, Mesh, Workload]:
    documents = documents_of(EVERYTHING.read_text(), "everything.yaml")
    given = tuple(sorted((*world_documents(), *documents), key=lambda document: document.key))
    carried = [
        replace(each, carrier=NODE, scope=Scope.ALL, uses=()) for each in workloads_for(documents) if not each.gateway
    ]
    node = Workload("host", "default", "host", node=NodeBinding(tuple(each.proxy for each in carried)))
    trials = tuple(trial_of(each) for each in given if each.key.kind == "EnvoyFilter")
    compiler = MeshCompiler()
    return compiler, compiler.build(ConfigSnapshot(1, given, (*carried, node), trials=trials)), node


def contents(snapshot: XdsSnapshot) -> set[bytes]:
    return {each.delta_bytes for kind in TYPES for each in snapshot.of_type(kind)}


def test_after_the_steps_next_to_nothing_is_left_to_make() -> None:
    compiler, mesh, node = compiler_and_mesh()
    memo = compiler._memo
    made = []
    for _ in compiler.steps(mesh, node):
        made.append(memo.misses)
    before = memo.misses
    stepped = compiler.compile(mesh, node, 1)
    steps = [after - earlier for earlier, after in zip((0, *made), made, strict=False)]
    carried = len(node.node.carries) if node.node is not None else 0
    assert len(steps) > 3 * carried
    assert memo.misses - before <= 3
    whole_compiler, same_mesh, _ = compiler_and_mesh()
    assert contents(stepped) == contents(whole_compiler.compile(same_mesh, node, 1))
    assert stepped.problems == ()


def test_the_proxy_of_one_workload_takes_no_steps() -> None:
    compiler, mesh, _ = compiler_and_mesh()
    sidecar = next(each for each in mesh.workloads if each.node is None)
    assert list(compiler.steps(mesh, sidecar)) == []


class Failing(TableCompiler):
    """Steps that end in an error."""

    def steps(self, mesh: Table, workload: Workload) -> Iterator[None]:
        yield
        raise KeyError(workload.proxy)


async def test_others_have_their_turn_while_a_node_that_comes_is_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where another mesh comes into force meanwhile, that is the one that it is made ready for."""
    monkeypatch.setattr("weft.aio.turns.TURN_SECONDS", -1.0)
    compiler = TableCompiler(steps_of_nodes=5)
    hub: Hub[Table] = Hub(compiler)
    first, second = ({NODE: (layer(resource(CLUSTER, "a", version)),)} for version in ("1", "2"))
    await hub.publish(first, {NODE: NODE_WORKLOAD}, 1)
    assert compiler.stepped == []
    ready = asyncio.create_task(hub.prepare(NODE_WORKLOAD))
    await asyncio.sleep(0)
    assert [number for _, number, _ in compiler.stepped] == [0]
    await hub.publish(second, {NODE: NODE_WORKLOAD}, 2)
    await ready
    stepped = [(number, mesh) for _, number, mesh in compiler.stepped]
    assert stepped[0] == (0, first)
    assert stepped[-5:] == [(number, second) for number in range(5)]
    assert len(stepped) < 10


async def test_a_node_that_is_connected_is_made_ready_before_it_is_offered_a_revision() -> None:
    compiler = TableCompiler(steps_of_nodes=3)
    hub: Hub[Table] = Hub(compiler)
    await hub.publish({NODE: ()}, {NODE: NODE_WORKLOAD}, 1)
    hub.attach(Peer(NODE, IDENTITY, time.time() + 3600), NODE_WORKLOAD, delta=True)
    await hub.publish({NODE: ()}, {NODE: NODE_WORKLOAD}, 2)
    assert [number for _, number, _ in compiler.stepped] == [0, 1, 2]
    await hub.prepare(Workload("web", "shop", "web"))
    assert len(compiler.stepped) == 3


async def test_steps_that_fail_are_told_by_the_build() -> None:
    told: list[Problem] = []
    hub: Hub[Table] = Hub(Failing(), told.append)
    await hub.publish({}, {NODE: NODE_WORKLOAD}, 1)
    await hub.prepare(NODE_WORKLOAD)
    assert told == []
    with pytest.raises(StreamEndedError):
        hub.attach(Peer(NODE, IDENTITY, time.time() + 3600), NODE_WORKLOAD, delta=True)
    assert [problem.code for problem in told] == ["build-failed"]
