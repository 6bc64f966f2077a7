"""A targetPort that is a name leads to the port that each workload calls so, or to its only port without a name."""

from __future__ import annotations

from support.http import Client
from support.mesh import Mesh, until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: main}]}
"""


def test_workloads_with_the_name_on_other_numbers(mesh: Mesh) -> None:
    mesh.serve()
    mesh.apply(SERVICE)
    mesh.echo("a", app="web", port="main=8080:auto", wait=False)
    mesh.echo("b", app="web", port="main=9090:auto", wait=False)
    mesh.echo("c", app="web", port="8080:auto", wait=False)
    mesh.echo("d", app="web", port="other=8080:auto", wait=False)
    mesh.wait_healthy("a", "b", "c", "d")
    client = Client(mesh.proxy_of("c"))
    seen: set[str] = set()

    def all_three() -> bool:
        seen.add(client("http://web/").json()["workload"])
        return seen >= {"a", "b", "c"}

    until("all three answer", all_three)
    assert {client("http://web/").json()["workload"] for _ in range(60)} == {"a", "b", "c"}
    assert "main=9090@127.0.0.1:" in mesh.weft("get", "workloads").stdout
    assert mesh.problems() == []
