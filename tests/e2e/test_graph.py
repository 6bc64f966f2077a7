"""`weft graph` of a running mesh: what was asked for before anybody called, and what was seen soon after."""

from __future__ import annotations

import json
from typing import Any

from support.http import Client
from support.mesh import Mesh, until

ROUTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: graph}
spec:
  parentRefs: [{name: front}]
  rules: [{matches: [{path: {type: PathPrefix, value: /graph}}], backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
    - route:
        - {destination: {host: echo, subset: v1}, weight: 50}
        - {destination: {host: echo, subset: v2}, weight: 50}
"""


def drawn(mesh: Mesh) -> dict[tuple[str, str], Any]:
    found = json.loads(mesh.weft("graph", "-o", "json").stdout)
    return {(one["from"], one["to"]): one for one in found["edges"]}


def test_calls_appear_with_rates_mutual_tls_and_the_shares_of_a_split(
    world: Mesh, client: Client, front: tuple[Client, str]
) -> None:
    gateway = ("workload default/front", "default/echo")
    with world.applied(ROUTES):
        assert gateway in drawn(world)
        outside, url = front
        for _ in range(30):
            assert client("http://echo/").status == 200
            assert outside(f"{url}/graph").status == 200
        assert client("http://echo/status/503").status == 503

        def seen() -> dict[tuple[str, str], Any]:
            found = drawn(world)
            assert found["default/client", "default/echo"]["requests"] >= 31
            assert found[gateway]["requests"] >= 30
            assert 0 < found["default/client", "default/echo"]["success_rate"] < 1, "one call failed"
            assert all(0 < one["seen"] < 1 for one in found["default/client", "default/echo"]["weights"])
            return found

        found = until("the calls are in the graph", seen, 30)
        calls = found["default/client", "default/echo"]
        assert calls["mtls"] is True
        assert calls["intent"] is False
        assert calls["p50_ms"] > 0
        assert [one["to"] for one in calls["weights"]] == ["default/echo v1", "default/echo v2"]
        assert {one["asked"] for one in calls["weights"]} == {0.5}
        assert "client" in world.weft("graph").stdout
        assert world.weft("graph", "-o", "svg").stdout.startswith("<svg ")
