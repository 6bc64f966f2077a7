"""Authorizers: who is asked before which port, and what that comes to where it cannot be."""

from __future__ import annotations

from support.meshdocs import Compiled, service, workload
from weft.mesh.access.access import Access
from weft.mesh.access.policy import Pattern, PatternKind
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector

PROVIDERS = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders:
    - name: web
      envoyExtAuthzHttp:
        service: default/asked.default.svc.cluster.local
        port: 9080
        includeRequestHeadersInCheck: [X-A, "x-b-*", "*-c"]
    - {name: out, envoyExtAuthzGrpc: {service: opa.example.com, port: 9191}}
    - {name: here, envoyExtAuthzGrpc: {service: 127.0.0.1, port: 9191}}
    - {name: gone, envoyExtAuthzGrpc: {service: default/gone.default.svc.cluster.local, port: 9191}}
"""


def asks(provider: str, name: str = "asks", scope: str = "selector: {matchLabels: {app: web}}, ") -> str:
    """A policy that has somebody asked about everything."""
    return (
        f"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\n"
        f"spec: {{{scope}action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}\n"
    )


def mesh(*policies: str) -> Compiled:
    """Two services, one of which is asked."""
    return Compiled(
        service("web"), service("asked"), PROVIDERS, *policies, workloads=(workload("web"), workload("asked"))
    )


def access(compiled: Compiled, app: str = "web") -> Access:
    """What is asked before the only port of an application."""
    return compiled.sidecar(workload(app)).inbound[0].access


def test_who_is_asked_is_told_to_who_asks() -> None:
    compiled = mesh(asks("web"))
    (authorizer,) = access(compiled).authorizers
    key = BackendKey("asked.default.svc.cluster.local", 9080)
    assert authorizer.server == Collector(key)
    assert not authorizer.grpc
    assert authorizer.request_headers == (
        Pattern(PatternKind.EXACT, "x-a"),
        Pattern(PatternKind.PREFIX, "x-b-"),
        Pattern(PatternKind.SUFFIX, "-c"),
    )
    told = {target.backend.key for target in compiled.sidecar(workload("web")).targets.told}
    assert key in told, "before there is a request"
    assert compiled.codes == ["unknown-service"], "of the provider that is gone"


def test_nobody_is_asked_about_calls_to_itself() -> None:
    compiled = mesh(asks("web", scope=""))
    assert access(compiled).authorizers
    assert not access(compiled, "asked").authorizers


def test_servers_outside() -> None:
    assert [each.server for each in access(mesh(asks("out"))).authorizers] == [
        Collector(host="opa.example.com", port=9191)
    ]
    assert access(mesh(asks("here"))).authorizers[0].grpc


def test_a_provider_whose_service_is_gone_closes() -> None:
    compiled = mesh(asks("gone"))
    assert access(compiled).closed
    assert sorted(compiled.codes) == ["unknown-provider", "unknown-service"]


def test_two_are_asked_and_a_third_closes() -> None:
    two = mesh(asks("web", "a"), asks("out", "b"), asks("web", "c"))
    assert [each.name for each in access(two).authorizers] == ["web", "out"]
    assert not access(two).closed
    three = mesh(asks("web", "a"), asks("out", "b"), asks("here", "c"))
    assert access(three).closed
    assert "too-many-providers" in three.codes
