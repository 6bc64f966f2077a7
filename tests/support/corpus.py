"""The corpus: the golden cases' documents, and a mesh in which every kind says all it can; compiled for its proxies."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import yaml

from support.certificates import Leaf, TestAuthority
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.mesh.views import ProxyView
from weft.model.distrust import Distrust
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import trial_of
from weft.model.workload import SocketAddress, Upstream, Workload
from weft.schema.decode import decode_documents
from weft.xds.build import build_xds
from weft.xds.snapshot import XdsSnapshot

GOLDEN = Path(__file__).parents[1] / "golden"
EVERYTHING = Path(__file__).with_name("everything.yaml")
SETTINGS = sorted((Path(__file__).parent / "settings").glob("*.yaml"))
"""Mesh-wide settings in ConfigMaps: one document of a mesh has them, so each is a text of its own."""
INPUTS = (*sorted(GOLDEN.glob("*/input.yaml")), EVERYTHING, *SETTINGS)


@dataclass(frozen=True)
class Compiled:
    """What proxies are sent, by name, and the views that it was made from."""

    views: Mapping[str, ProxyView]
    snapshots: Mapping[str, XdsSnapshot]


def documents_of(text: str, source: str) -> tuple[Document[object], ...]:
    """The documents of a text, which must be without an error."""
    decoded = decode_documents(with_certificate(text), source)
    assert not decoded.failed, [str(problem) for problem in decoded.problems]
    return decoded.documents


@functools.cache
def world_workloads() -> tuple[Workload, ...]:
    """The workloads that all cases share."""
    return msgspec.convert(yaml.safe_load(_world()[1]), tuple[Workload, ...])


@functools.cache
def world_documents() -> tuple[Document[object], ...]:
    """The services that all cases share."""
    return documents_of(_world()[0], "world.yaml")


def compile_mesh(
    documents: Iterable[Document[object]],
    workloads: Iterable[Workload],
    distrusted: Iterable[Distrust] = (),
    *,
    faulty: bool = False,
) -> Compiled:
    """What every one of `workloads` is sent. The documents must be `faulty`, or without a problem but that a policy
    denies by path, which has to be compiled as well."""
    listed, given = tuple(workloads), tuple(documents)
    memo = Memo()
    memo.begin()
    trials = tuple(trial_of(each) for each in given if each.key.kind == "EnvoyFilter")
    mesh = build_mesh(ConfigSnapshot(1, given, listed, distrusted=tuple(distrusted), trials=trials), memo)
    problems = [problem for problem in mesh.problems if problem.code != "deny-by-path"]
    assert bool(problems) is faulty, list(map(str, problems))
    views = {workload.proxy: build_view(mesh, workload, memo) for workload in listed}
    snapshots = {proxy: build_xds(view, 1, memo) for proxy, view in views.items()}
    assert [problem for snapshot in snapshots.values() for problem in snapshot.problems] == []
    return Compiled(views, snapshots)


CAPTURE = (SocketAddress("127.0.0.1", 15001), SocketAddress("::1", 15001))
"""Where captured connections are led to."""
INBOUND_CAPTURE = (SocketAddress("0.0.0.0", 15006),)
"""Where connections of callers are led to."""
CALLER = Workload(
    name="caller",
    namespace="default",
    service_account="caller",
    upstreams=tuple(Upstream("many", port, SocketAddress("127.0.0.1", 20000 + port)) for port in (5432, 7000, 80)),
    uses=("ratings",),
)
"""A workload that says which services it uses, and has loopback ports to one."""


def workloads_for(documents: Iterable[Document[object]]) -> tuple[Workload, ...]:
    """The shared workloads; gateways only where `documents` has their Gateway, and CALLER where its Service is. Where
    there is a headless one, connections of the first workload are captured, and those of callers of the second."""
    names = {(document.key.kind, document.key.name) for document in documents}
    found = [each for each in world_workloads() if each.gateway is None or ("Gateway", each.gateway.gateway) in names]
    if ("Service", "headless") in names:
        found[0] = replace(found[0], capture=CAPTURE)
        found[1] = replace(found[1], inbound_capture=INBOUND_CAPTURE, transparent=True)
    return (*found, CALLER) if ("Service", "many") in names else tuple(found)


@functools.cache
def _world() -> tuple[str, str]:
    documents, _, workloads = (GOLDEN / "world.yaml").read_text().partition("# workloads\n")
    return documents, workloads


@functools.cache
def _shop_certificate() -> Leaf:
    return TestAuthority().issue(dns=("shop.example.com",))


def with_certificate(text: str) -> str:
    """``${CERTIFICATE}`` and ``${KEY}`` stand for fresh ones: no key belongs into a repository."""
    if "${KEY}" not in text:
        return text
    leaf = _shop_certificate()
    for name, value in (("CERTIFICATE", leaf.chain), ("KEY", leaf.key)):
        text = text.replace(f"${{{name}}}", base64.b64encode(value).decode())
    return text
