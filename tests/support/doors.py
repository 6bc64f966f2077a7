"""The ports of a running mesh that floods are sent to, and which floods make sense there."""

from __future__ import annotations

import ssl

from support.floods import HTTP1, HTTP2, XDS, Door, Flood
from support.http import tls_context
from support.mesh import Mesh

DOORS: dict[str, dict[str, Flood]] = {
    "xds": XDS,
    "agent": HTTP1,
    "admin": HTTP1,
    "gateway": {**HTTP2, **HTTP1},
    "sidecar": {**HTTP2, **HTTP1},
}
PAGE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: large}
spec:
  parentRefs: [{name: front}]
  hostnames: [shop.example]
  rules:
    - matches: [{path: {value: /large}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /download/5000000}}}]
      backendRefs: [{name: shop, port: 80}]
"""


def door(mesh: Mesh, name: str) -> Door:
    """One of `DOORS`, with the certificate of the workload ``client`` where one is wanted."""
    ends = mesh.endpoints()

    def address(key: str) -> tuple[str, int]:
        host, _, port = ends[key].removeprefix("http://").rpartition(":")
        return host, int(port)

    def shows(alpn: str) -> ssl.SSLContext:
        files = mesh.home / "workloads/default/client/certs/..data"
        bundle = mesh.home / "control-plane/trust-bundle.pem"
        context = tls_context(str(bundle), str(files / "chain.pem"), str(files / "key.pem"))
        context.set_alpn_protocols([alpn])
        return context

    if name == "xds":
        path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        return Door(address("xds"), "localhost", path, shows("h2"), shows("h2"))
    if name == "agent":
        return Door(address("agent_api"), "localhost", "/v1/trust-bundle", shows("http/1.1"), large="/v1/trust-bundle")
    if name == "admin":
        return Door(address("admin"), "localhost", "/v1/health", large="/v1/health")
    if name == "gateway":
        where = mesh.workload("front")["gateway"]["ports"][0][1]
        return Door((where["host"], where["port"]), "shop.example", "/open", large="/large")
    inbound = mesh.inbound_of("shop")
    return Door(inbound, "shop", "/health", shows("http/1.1"), shows("h2"), large="/download/5000000")
