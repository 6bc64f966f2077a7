"""What a change costs: the work that each further class of callers adds does not grow with the services of the mesh."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import FrameType

from support.meshdocs import documents, service, workload
from weft.discovery.compiler import MeshCompiler
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import WorkloadState

TCP = "  - {name: tcp-db, port: 5432, targetPort: 9080}\n"


def _work(classes: int, services: int) -> int:
    """Function calls of Python and C by which the proxies of some classes follow the change of one endpoint."""
    compiler, calls = MeshCompiler(), 0
    found = documents("".join(service(f"s{number}", extra=TCP) for number in range(services)))
    servers = [workload(f"s{number}") for number in range(services)]
    clients = [
        workload("client", namespace=f"n{number}", name=f"client{copy}", ports=())
        for number in range(classes)
        for copy in range(2)
    ]

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def build(revision: int, state: WorkloadState) -> None:
        changed = (replace(servers[0], state=state), *servers[1:], *clients)
        mesh = compiler.build(ConfigSnapshot(revision, found, changed))
        for client in clients:
            assert not compiler.compile(mesh, client, revision).problems
        compiler.published()

    build(1, WorkloadState.HEALTHY)
    build(2, WorkloadState.UNHEALTHY)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        build(3, WorkloadState.HEALTHY)
    finally:
        sys.setprofile(before)
    return calls


def test_an_endpoint_change_does_not_cost_classes_times_services() -> None:
    few = _work(12, 6) - _work(2, 6)
    many = _work(12, 60) - _work(2, 60)
    assert many < few + 60, f"ten more classes cost {few} calls at 6 services and {many} at 60"
