"""weft check and weft analyze through the admin API: what the facts are gathered from."""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import replace
from typing import Any

from support.control import Rig
from weft.admin.checking import Checking, edge_facts, unreachable_workloads
from weft.admin.vitals import Vitals
from weft.findings.facts import EdgeFact
from weft.model.labels import labels_from_mapping
from weft.model.requests import RequestSeen
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.sources.workloads import put_workload
from weft.traffic.edges import Edge

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http: [{timeout: 2s, retries: {attempts: 2, perTryTimeout: 1s}, route: [{destination: {host: a, subset: v9}}]}]
"""


def workload(name: str, port: int, state: WorkloadState = WorkloadState.HEALTHY) -> Workload:
    address = SocketAddress("127.0.0.1", port)
    ports = (WorkloadPort(8080, address, address),)
    return Workload(name, "default", name, labels_from_mapping({"app": name}), ports, state=state)


async def get(rig: Rig, path: str) -> Any:
    async with rig.session() as session, session.get(path) as response:
        assert response.status == 200
        return await response.json()


async def registered(rig: Rig, *workloads: Workload) -> None:
    leases = rig.parts.leases
    for one in workloads:
        revision = await rig.store.write([put_workload(one)], leases=leases.granted(f"default/{one.name}"))
    snapshot = await rig.parts.collector.included(revision)
    while rig.parts.compiled.value.revision < snapshot:
        await rig.parts.compiled.changed(rig.parts.compiled.version)


async def closed_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


async def test_an_empty_mesh_is_well(rig: Rig) -> None:
    answer = await get(rig, "/v1/check?version=0")
    assert {one["code"] for one in answer["findings"]} == {"weft-versions-differ"}
    assert "every document is in force" in answer["passed"]


async def test_problems_workloads_and_addresses_are_among_the_facts(rig: Rig) -> None:
    async with (
        rig.session(**{"X-Weft-Source": "r.yaml"}) as session,
        session.post("/v1/documents?wait=5", data=io.BytesIO(SERVICES.encode())) as response,
    ):
        assert response.status == 200
    await registered(rig, workload("a", await closed_port()))
    rig.parts.heard.note("default/a", time.time() + 400, "0.0.9", time.time())
    rig.parts.heard.issued("default/a", time.time() - 100, time.time() - 1)
    found = {one["code"]: one for one in (await get(rig, "/v1/check"))["findings"]}
    assert {
        "unknown-subset",
        "timeout-below-tries",
        "proxy-not-connected",
        "endpoint-unreachable",
        "clock-differs",
        "certificate-expires",
        "weft-versions-differ",
    } <= found.keys()
    assert found["unknown-subset"]["source"].startswith("r.yaml:")
    assert found["unknown-subset"]["fix"].startswith("${EDITOR:-vi} +")
    assert found["clock-differs"]["severity"] == "error"
    analysed = (await get(rig, "/v1/analysis"))["findings"]
    assert {"unknown-subset", "timeout-below-tries"} == {one["code"] for one in analysed if one["severity"] != "note"}


async def test_what_requests_met_is_over_when_its_document_is_gone(rig: Rig) -> None:
    async with rig.session() as session, session.post("/v1/documents?wait=5", data=io.BytesIO(SERVICES.encode())):
        pass
    seen = [
        RequestSeen(
            time.time(), "outbound", id=f"{name}", method="GET", flags="DI", object=f"VirtualService default/{name}"
        )
        for name in ("a", "gone")
    ]
    rig.parts.taps.journal.add("default/b", seen)
    found = (await get(rig, "/v1/check"))["findings"]
    faults = [one for one in found if one["code"] == "fault-in-force"]
    assert [one["object"]["name"] for one in faults] == ["a"]


async def test_only_healthy_workloads_addresses_are_tried() -> None:
    closed = await closed_port()
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    async with server:
        workloads = [
            workload("up", int(server.sockets[0].getsockname()[1])),
            workload("down", closed),
            workload("leaving", closed, WorkloadState.DRAINING),
        ]
        assert await unreachable_workloads(workloads) == (
            ("down.default", f"127.0.0.1:{closed}", "Connection refused"),
        )


async def test_what_was_seen_is_the_call_graph_too(rig: Rig) -> None:
    await registered(rig, workload("a", 1), workload("b", 1))
    text = (
        SERVICES.partition("---")[0]
        + "---"
        + SERVICES.partition("---")[0].replace("name: a", "name: b").replace("app: a", "app: b")
    )
    async with (
        rig.session() as session,
        session.post("/v1/documents?wait=5", data=io.BytesIO(text.encode())) as response,
    ):
        assert response.status == 200
    subject = Checking(rig.parts)._subject([EdgeFact("default/b", "default/a", 3, 0), EdgeFact("", "default/a", 1, 0)])
    assert subject is not None
    assert subject.observed == (("b.default.svc.cluster.local", "a.default.svc.cluster.local"),)


async def test_the_vitals_are_among_the_facts(rig: Rig) -> None:
    parts = replace(rig.parts, vitals=lambda: Vitals(0.9, 5, 100, 1.0, 2.0, 3.0, 4.0))
    plane = (await Checking(parts).facts("1")).control_plane
    assert (plane.late, plane.free, plane.room, plane.root_ends, plane.server_ends) == (0.9, 5, 100, 2.0, 4.0)


def test_edges_of_one_caller_and_service_are_one_fact() -> None:
    codes, flags = (("503", 2),), (("UF", 2),)
    one = Edge("default/b", "default/b", "default/a", "default/a-1", 80, "http", True, 5, 2, codes, flags)
    other = Edge("default/b", "default/b", "default/a", "", 80, "http", None, 3, 3, (("503", 3),))
    third = Edge("", "", "default/a", "default/a-1", 80, "http", False, 1, 0)
    assert edge_facts([one, third, other]) == (
        EdgeFact("default/b", "default/a", 8, 5, {"503": 5}, {"UF": 2}, True),
        EdgeFact("", "default/a", 1, 0, {}, {}, False),
    )
