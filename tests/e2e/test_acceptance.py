"""`weft get` tells how the mesh took routes and Gateways, as the status of the Gateway API."""

from __future__ import annotations

import yaml

from support.http import Client
from support.mesh import Mesh

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: half}
spec:
  parentRefs:
    - {name: front}
    - {group: "", kind: Service, name: echo, port: 81}
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"""


def column(table: str, name: str, heading: str) -> str:
    """What stands under a heading in the row of an object."""
    head, *rows = table.splitlines()
    start = head.index(heading)
    end = min((place for place in (head.find("  ", start),) if place >= 0), default=len(head))
    following = len(head) - len(head[end:].lstrip()) if head[end:].strip() else None
    (row,) = [row for row in rows if row.startswith(f"{name} ")]
    return row[start:following].strip()


def test_routes_and_gateways_tell_how_they_were_taken(world: Mesh) -> None:
    with world.applied(ROUTE, check=False):
        table = world.weft("get", "httproutes").stdout
        assert column(table, "half", "ACCEPTED") == "1/2"
        assert column(table, "half", "RESOLVED REFS") == "True"
        assert column(world.weft("get", "gateways").stdout, "front", "ATTACHED ROUTES") == "http:1"
        shown = yaml.safe_load(world.weft("get", "httproute", "half", "-o", "yaml").stdout)
        accepted = [parent["conditions"][0] for parent in shown["status"]["parents"]]
        assert [one["status"] for one in accepted] == ["True", "False"]
        assert accepted[1]["reason"] == "NoMatchingParent"
        assert "has no port 81" in accepted[1]["message"]
    assert column(world.weft("get", "gateways").stdout, "front", "ATTACHED ROUTES") == "http:0"


SHARED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site}
spec:
  hosts: [shared.example]
  gateways: [front]
  http: [{directResponse: {status: 200, body: {string: site}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team}
spec:
  hosts: [shared.example]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /team}}]
    directResponse: {status: 200, body: {string: team}}
  - match: [{uri: {prefix: /team/a}}]
    directResponse: {status: 418}
"""
HALF_BAD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: raw, port: 5432, protocol: example.com/raw}]
"""


def test_a_bad_listener_and_a_hidden_rule_are_described_and_all_else_is_in_force(
    world: Mesh, front: tuple[Client, str]
) -> None:
    client, page = front
    before = world.weft("get", "gateway", "front", "-o", "yaml").stdout
    try:
        world.weft("apply", "-f", "-", "--wait", stdin=HALF_BAD, check=False)
        with world.applied(SHARED):
            bodies = [
                client(page + path, headers={"Host": "shared.example"}).body for path in ("/", "/team", "/team/a")
            ]
            assert bodies == [b"site", b"team", b"team"]
            told = world.weft("describe", "gateway", "front").stdout
            assert "Accepted      False   UnsupportedProtocol" in told
            hidden = world.weft("describe", "vs", "team").stdout
            assert "spec.http[1]: no request comes to this rule: http[0] " in hidden
    finally:
        world.weft("apply", "-f", "-", "--wait", stdin=before)
