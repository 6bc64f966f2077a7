"""Which revision a Gateway is written by: its own label, its namespace's, or the default."""

from __future__ import annotations

from support.meshdocs import documents
from weft.sources.kubernetes.leadership import lease_of, revisions_of

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: canary, labels: {istio.io/rev: canary}}
---
apiVersion: v1
kind: Namespace
metadata: {name: usual, labels: {istio.io/rev: canary, istio-injection: enabled}}
"""


def gateway(name: str, namespace: str, labels: str = "{}") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec: {{gatewayClassName: weft, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
"""


def test_whose_a_gateway_is() -> None:
    given = [
        gateway("a", "canary"),
        gateway("b", "canary", "{istio.io/rev: default}"),
        gateway("c", "usual"),
        gateway("d", "usual", "{weft.dev/rev: canary}"),
        gateway("e", "elsewhere"),
    ]
    added = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: elsewhere}
spec:
  parentRef: {name: a, namespace: canary}
  listeners: [{name: other, port: 81, protocol: HTTP}]
"""
    found = revisions_of(documents(NAMESPACES + "".join(given) + added))
    assert {(key.kind, key.name): revision for key, revision in found.items()} == {
        ("Gateway", "a"): "canary",
        ("Gateway", "d"): "canary",
        ("ListenerSet", "more"): "canary",
    }


def test_the_lease_of_the_default_is_called_as_ever() -> None:
    assert (lease_of("default"), lease_of("canary")) == ("weft-leader", "weft-leader-canary")
