"""`weft get` tells how the mesh took routes and Gateways, as the status of the Gateway API."""

from __future__ import annotations

import yaml

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
