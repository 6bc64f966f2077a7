"""Clusters, routes and endpoints that come and go, again and again, under traffic (class 17)."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from functools import partial

from security.test_attacks import gateway_of, say
from support.bystander import bystander, processes, weighed
from support.mesh import Mesh, alive, until
from weft.settings.home import Home

ROUNDS = 8
SERVICES = 20
MORE_MEGABYTES = 100
KINDS = ("HTTPRoute", "DestinationRule", "Service")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: churn-NUMBER}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: churn-NUMBER}
spec: {host: churn-NUMBER, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: ROUND}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: churn-NUMBER}
spec:
  parentRefs: [{name: front}]
  hostnames: [churn-NUMBER.example]
  rules: [{matches: [{path: {value: /health}}], backendRefs: [{name: churn-NUMBER, port: 80}]}]
---
"""


class AdminSocket(http.client.HTTPConnection):
    """Envoy's admin interface on its unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def counters(mesh: Mesh, name: str, prefix: str) -> dict[str, int]:
    """Statistics of a workload's Envoy that begin so."""
    connection = AdminSocket(str(Home(mesh.home).socket(mesh.home / "workloads/default" / name / "admin.sock")))
    try:
        connection.request("GET", f"/stats?format=json&filter=^{prefix}")
        found = json.loads(connection.getresponse().read())["stats"]
    finally:
        connection.close()
    return {one["name"]: one["value"] for one in found if "name" in one}


def numbers(turn: int) -> range:
    """Half of the services in one turn, the other half in the next."""
    return range(turn % 2, SERVICES, 2)


def change(mesh: Mesh, turn: int) -> None:
    """Those of this turn come, those of the turn before go."""
    text = "".join(SERVICE.replace("NUMBER", str(n)).replace("ROUND", str(turn + 1)) for n in numbers(turn))
    mesh.api("documents?wait=20", "POST", text.encode())
    if turn:
        remove(mesh, turn - 1)


def remove(mesh: Mesh, turn: int) -> None:
    for number in numbers(turn):
        for kind in KINDS:
            mesh.api(f"documents/{kind}/default/churn-{number}", "DELETE")


def gives(address: tuple[str, int], number: int, status: int) -> bool:
    return say(address, "GET /health HTTP/1.1", f"Host: churn-{number}.example")[0] == status


async def test_proxies_outlive_clusters_that_come_and_go(target: Mesh) -> None:
    pids, around = processes(target), bystander(target)
    before = counters(target, "front", "cluster_manager")
    async with weighed(pids) as most, around.calling():
        for turn in range(ROUNDS):
            await asyncio.to_thread(change, target, turn)
    address = gateway_of(target)
    for number, status in ((numbers(ROUNDS - 1)[0], 200), (numbers(ROUNDS - 2)[0], 404)):
        until(f"{number} gives {status}", partial(gives, address, number, status))
    remove(target, ROUNDS - 1)
    after = counters(target, "front", "cluster_manager")
    removed = after["cluster_manager.cluster_removed"] - before["cluster_manager.cluster_removed"]
    assert removed > ROUNDS * SERVICES // 4, "clusters did go"
    assert around.failures == []
    assert all(alive(pid) for pid in pids.values())
    assert [name for name, more in most.items() if more > MORE_MEGABYTES] == [], most
    assert not [problem for problem in target.problems() if problem["code"] == "nack"]
