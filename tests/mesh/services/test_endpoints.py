"""Endpoints: which port of a workload stands behind a port of a service."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, endpoints, workload
from weft.model.workload import SocketAddress, WorkloadPort


def service(*targets: str) -> str:
    """A Service with a port for each target, 8000 and up."""
    ports = "".join(f"  - {{name: http-{n}, port: {8000 + n}, targetPort: {one}}}\n" for n, one in enumerate(targets))
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports:
{ports}"""


def port(number: int, name: str = "") -> WorkloadPort:
    where = SocketAddress("127.0.0.1", number)
    return WorkloadPort(number, where, where, name)


@pytest.mark.parametrize(
    ("targets", "ports", "served", "codes"),
    [
        (["http"], [port(9080, "http"), port(9090, "metrics")], [9080], []),
        (["metrics", "http"], [port(9080, "http"), port(9090, "metrics")], [9090, 9080], []),
        (["http"], [port(9080)], [9080], []),
        (["http", "9090"], [port(9080)], [9080, 0], ["target-port-not-served"]),
        (["http", "metrics"], [port(9080)], [0, 0], ["named-target-port"] * 2),
        (["http", "9080"], [port(9080)], [0, 9080], ["named-target-port"]),
        (["http"], [port(9080, "web")], [0], ["named-target-port"]),
        (["http"], [port(9080), port(9090)], [0], ["named-target-port"]),
    ],
)
def test_a_target_is_a_number_a_name_or_the_only_port(
    targets: list[str], ports: list[WorkloadPort], served: list[int], codes: list[str]
) -> None:
    instance = workload("web", ports=tuple(ports))
    mesh = Compiled(service(*targets), workloads=[instance])
    found = endpoints(mesh.sidecar())
    for number, expected in enumerate(served):
        key = f"outbound|{8000 + number}||web.default.svc.cluster.local"
        assert [one.address.port for one in found[key].endpoints] == ([expected] if expected else [])
    assert mesh.codes == codes
    used = {one.port for one in mesh.sidecar(instance).inbound if one.protocol == "http"}
    assert used == {one for one in served if one}
