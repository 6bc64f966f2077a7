"""Workloads on loopback in a mesh that spans hosts."""

from __future__ import annotations

from dataclasses import replace

from support.meshdocs import Compiled, service, workload
from weft.model.problem import Severity
from weft.model.workload import SocketAddress, Workload


def reached_at(host: str, app: str) -> Workload:
    one = workload(app)
    return replace(one, ports=(replace(one.ports[0], inbound=SocketAddress(host, 20000)),))


def test_a_workload_on_loopback_is_told_of_when_others_are_elsewhere() -> None:
    documents = service("a", 9080) + service("b", 9080)
    here, far = reached_at("127.0.0.1", "a"), reached_at("10.0.0.7", "b")
    assert Compiled(documents, workloads=[here]).codes == []
    assert Compiled(documents, workloads=[far]).codes == []
    caller = replace(workload("c"), ports=())
    mesh = Compiled(documents, workloads=[here, far, caller])
    assert mesh.codes == ["reached-on-loopback"]
    (problem,) = mesh.mesh.problems
    assert problem.severity is Severity.WARNING
    assert str(problem.origin.source) == "workload a-v1.default"
    assert "127.0.0.1:20000" in problem.message
