"""Workloads that take what they are from a WorkloadGroup, in a real mesh."""

from __future__ import annotations

import json
import sys

from support.http import Client
from support.mesh import APPS, Mesh, until

GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: grouped}
spec:
  metadata: {labels: {app: grouped, version: v7}}
  template: {ports: {web: 8080}, serviceAccount: grouped, locality: eu/eu-1, weight: 5}
  probe:
    periodSeconds: 1
    failureThreshold: 1
    httpGet: {port: 8080, path: /health}
---
apiVersion: v1
kind: Service
metadata: {name: grouped}
spec: {selector: {app: grouped}, ports: [{name: http, port: 80, targetPort: web}]}
"""


def test_a_workload_is_what_its_group_says(world: Mesh, client: Client) -> None:
    words = ("--group", "grouped", "--port", "8080:auto", "--", sys.executable, str(APPS / "http_echo.py"))
    proc = world.spawn("vm-1", "run", "--name", "vm-1", *words, env={"WORKLOAD": "vm-1"})
    with world.applied(GROUP.replace("name: grouped}\nspec:\n", "name: groupd}\nspec:\n", 1)):
        until("the near name is told", lambda: "did you mean 'groupd'?" in proc.output())
    with world.applied(GROUP):
        world.wait_healthy("vm-1")
        row = world.workload("vm-1")
        assert row["labels"] == {"app": "grouped", "version": "v7"}
        assert (row["service_account"], row["locality"], row["group"], row["weight"]) == (
            "grouped",
            "eu/eu-1",
            "grouped",
            5,
        )
        assert [(port["name"], port["port"]) for port in row["ports"]] == [("web", 8080)]
        assert until("it is called", lambda: client("http://grouped/").status == 200)
        assert client("http://grouped/").json()["workload"] == "vm-1"
        assert "1/1 healthy" in world.weft("get", "workloadgroups").stdout
        assert client("http://grouped/health/false", method="POST").status == 200
        until("the probe sees it", lambda: world.workload("vm-1")["state"] == "unhealthy")
        shown = json.loads(world.weft("get", "workloadgroup", "grouped", "-o", "json").stdout)
        assert shown["status"]["workloads"] == [{"name": "vm-1", "state": "unhealthy"}]
        line = next(line for line in world.weft("get", "workloads").stdout.splitlines() if " vm-1 " in line)
        assert "unhealthy" in line
        assert line.split()[-1] == "grouped"
        proc.stop()
