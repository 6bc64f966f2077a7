"""What the mesh says of a Gateway, in the API's words."""

from __future__ import annotations

from typing import Any, cast

from support.meshdocs import Compiled, documents
from weft.admin.acceptance import Acceptance
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
  allowedListeners: {namespaces: {from: Same}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: edge}
  listeners: [{name: other, port: 81, protocol: HTTP}]
"""


def test_sets_are_counted_and_what_may_not_be_read_is_told() -> None:
    found = documents(GATEWAY)
    mesh = Compiled(found).mesh
    path = ("spec", "listeners", 0, "tls", "certificateRefs", 0)
    text = "Secret shop-tls cannot be read: it answers 403"
    refused = Problem(Severity.ERROR, "kubernetes-refused", text, Origin("kubernetes:test"), found[0].key, path)
    said = cast("dict[str, Any]", Acceptance(mesh, [refused]).of(found[0]))
    assert said["attachedListenerSets"] == 1
    [resolved] = [one for one in said["listeners"][0]["conditions"] if one["type"] == "ResolvedRefs"]
    assert (resolved["status"], resolved["reason"], resolved["message"]) == ("False", "InvalidCertificateRef", text)
    assert "attachedListenerSets" not in Acceptance(mesh).of(found[1])
