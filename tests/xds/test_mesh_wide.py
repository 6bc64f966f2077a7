"""Mesh-wide settings reach proxies without touching a listener, so connections that are open stay open."""

from __future__ import annotations

import pytest

from support.corpus import documents_of, world_documents, world_workloads
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Scope, SocketAddress, Upstream, Workload
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES, XdsSnapshot

WORKLOAD = Workload("caller", "default", "caller", outbound=SocketAddress("127.0.0.1", 15001))
UPSTREAM = Upstream("ratings", 9080, SocketAddress("127.0.0.1", 5432))
CALLERS = (
    WORKLOAD,
    Workload("all", "default", "all", outbound=SocketAddress("127.0.0.1", 15002), scope=Scope.ALL),
    Workload("scoped", "default", "s", outbound=SocketAddress("127.0.0.1", 15003), upstreams=(UPSTREAM,)),
)


def compiled(spec: str, caller: Workload) -> XdsSnapshot:
    """What a caller is sent under these settings."""
    head = "apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    config = f"{head}spec: {{{spec}}}"
    documents = (*world_documents(), *(documents_of(config, "config.yaml") if spec else ()))
    memo = Memo()
    memo.begin()
    mesh = build_mesh(ConfigSnapshot(1, documents, (*world_workloads(), caller)), memo)
    return build_xds(build_view(mesh, caller, memo), 1, memo)


def versions(snapshot: XdsSnapshot, kind: str) -> dict[str, str]:
    """The versions of all resources of a type."""
    return {each.name: each.version for each in snapshot.of_type(kind)}


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: str(caller.name))
@pytest.mark.parametrize(
    "spec",
    ["outboundTrafficPolicy: {mode: REGISTRY_ONLY}", "connectTimeout: 2s", "defaultHttpRetryPolicy: {attempts: 2}"],
)
def test_no_listener_changes_with_mesh_wide_settings(spec: str, caller: Workload) -> None:
    before, after = compiled("", caller), compiled(spec, caller)
    assert versions(before, LISTENER) == versions(after, LISTENER)
    assert versions(before, ROUTES) | versions(before, CLUSTER) != versions(after, ROUTES) | versions(after, CLUSTER)


def test_hosts_outside_follow_the_time_to_connect_of_the_mesh() -> None:
    for spec, seconds in (("", "5s"), ("connectTimeout: 2s", "2s")):
        cluster = compiled(spec, WORKLOAD).get(CLUSTER, "forward-proxy")
        assert cluster is not None
        assert describe_resource(cluster)["connect_timeout"] == seconds
