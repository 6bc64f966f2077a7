"""Instances of an autoscaling group: they join by one token, and go with their host."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, until
from weft.agent.state import State

ECHO = (sys.executable, str(APPS / "http_echo.py"))
LEASE = 2.0
MESH = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: echo}
spec:
  metadata: {labels: {app: echo}}
  template: {ports: {http: 8080}, serviceAccount: echo}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: http}]}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    (tmp_path / "mesh.yaml").write_text(MESH)
    with two_hosts(tmp_path) as hosts:
        yield hosts


def names(host: Host) -> set[str]:
    return {row["name"] for row in json.loads(host.weft("get", "workloads", "-o", "json").stdout)}


def power_off(state: State) -> None:
    """Nobody says good-bye: proxy and application end at once."""
    for one in (state.envoy, state.application):
        if one is not None:
            os.kill(one.pid, signal.SIGKILL)


def test_instances_join_by_one_token_and_go_with_their_host(hosts: tuple[Host, Host]) -> None:
    control, group = hosts
    mesh = str(control.home.parent / "mesh.yaml")
    serving = control.spawn(*WEFT, "serve", "--documents", mesh, "--bind", "0.0.0.0", "--lease", str(LEASE))
    until("the control plane answers", lambda: "ready: " in serving.output())
    words = ("--group", "echo", "--service-account", "echo", "--uses", "2")
    printed = control.weft("token", "create", *words, "--", *ECHO).stdout
    assert '--group echo --name "$(hostname -s)"' in printed
    printed = printed.replace('--name "', '--port 8080:auto --name "')  # both instances of this test are on one host
    agents = {
        name: group.spawn("sh", "-c", printed.replace('"$(hostname -s)"', name), WORKLOAD=name)
        for name in ("vm-1", "vm-2")
    }
    for name in agents:
        healthy(control, name)
    listed = control.weft("token", "list").stdout
    assert "join as default/echo in group echo" in listed
    assert "used, 2 of 2 used" in listed
    third = group.call("sh", "-c", printed.replace('"$(hostname -s)"', "vm-3"), timeout=60)
    assert third.returncode != 0
    assert "the join token is not valid" in third.stderr
    until("each calls the other", lambda: '"vm-2"' in group.curl("vm-1", "http://echo/"))
    state = group.state("vm-2")
    agents["vm-2"].process.kill()
    os.killpg(agents["vm-2"].pid, signal.SIGKILL)
    power_off(state)
    until("it is gone with its lease", lambda: names(control) == {"vm-1"})
    assert '"vm-1"' in group.curl("vm-1", "http://echo/")
