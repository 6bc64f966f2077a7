"""References into namespaces that are not in the mesh's view are told where they stand."""

from __future__ import annotations

from support.meshdocs import documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.origin import path_text
from weft.model.snapshot import ConfigSnapshot

MESH = documents(
    """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, name: http}], selector: {app: web}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules:
    - backendRefs:
        - {name: web, port: 80}
        - {name: bills, namespace: billing, port: 80}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bills, namespace: shop}
spec:
  hosts: [bills.billing.svc.cluster.local]
  gateways: [mesh, edge/front]
  http: [{route: [{destination: {host: web.shop}}]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["./*", "billing/*"]}]}
"""
)


def told(*left_out: str) -> list[tuple[str, str, str]]:
    memo = Memo()
    memo.begin()
    mesh = build_mesh(ConfigSnapshot(1, MESH, left_out=frozenset(left_out)), memo)
    found = [each for each in mesh.problems if each.code == "namespace-left-out" and each.object is not None]
    return sorted((each.object.kind, path_text(each.path), each.severity.name) for each in found if each.object)


def test_what_leads_into_a_namespace_that_is_left_out() -> None:
    assert not told()
    assert not told("other", "shop")
    assert told("billing") == [
        ("HTTPRoute", "spec.rules[0].backendRefs[1].namespace", "WARNING"),
        ("Sidecar", "spec.egress[0].hosts[1]", "WARNING"),
        ("VirtualService", "spec.hosts[0]", "WARNING"),
    ]
    assert told("edge") == [("VirtualService", "spec.gateways[1]", "WARNING")]


def test_where_the_policies_of_the_mesh_would_be() -> None:
    settings = documents(
        """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {rootNamespace: policies}
"""
    )
    memo = Memo()
    memo.begin()
    mesh = build_mesh(ConfigSnapshot(1, settings, left_out=frozenset(("policies",))), memo)
    [problem] = [each for each in mesh.problems if each.code == "namespace-left-out"]
    assert (path_text(problem.path), problem.severity.name) == ("spec.rootNamespace", "ERROR")
    assert "no policy in it is in force" in problem.message
