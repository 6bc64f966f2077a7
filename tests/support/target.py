"""The mesh that is attacked: a client, an application and a gateway before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.mesh import Mesh

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front}]
  hostnames: [shop.example]
  rules:
    - {matches: [{path: {value: /open}}], backendRefs: [{name: shop, port: 80}]}
    - matches: [{path: {value: /slow}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /delay/0.5}}}]
      backendRefs: [{name: shop, port: 80}]
"""


@contextlib.contextmanager
def running_target(root: Path) -> Iterator[Mesh]:
    """That mesh, below `root`."""
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(DOCUMENTS)
        for name in ("client", "shop"):
            mesh.echo(name, wait=False)
        mesh.wait_healthy("client", "shop")
        mesh.gateway("front", "80=auto")
        yield mesh
    finally:
        mesh.stop()
