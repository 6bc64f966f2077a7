"""Earlier Envoys in one mesh with the bundled one: they take what they are told, and do the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.envoys import LOCKS, install_one, version_in

from support.http import Client
from support.mesh import Mesh, until

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: new}
spec: {selector: {app: new}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {selector: {app: old}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old}
spec:
  hosts: [old]
  http:
    - match: [{uri: {prefix: /fault}}]
      fault: {abort: {percentage: {value: 100}, httpStatus: 418}}
      route: [{destination: {host: old}}]
    - route: [{destination: {host: old}}]
"""


def all_confirmed(proxies: list[dict[str, Any]]) -> bool:
    return len(proxies) == 2 and all(
        one["revision_acked"] >= one["revision"] > 0 and one["last_nack"] is None for one in proxies
    )


@pytest.fixture(scope="module", params=LOCKS, ids=version_in)
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh whose workload `old` has an earlier Envoy, and `new` the bundled one."""
    lock: Path = request.param
    root = tmp_path_factory.mktemp("mixed")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(DOCUMENTS)
        mesh.echo("new", wait=False)
        mesh.echo("old", wait=False, env={"WEFT_ENVOY": str(install_one(lock))})
        mesh.wait_healthy("new", "old")
        yield mesh
    finally:
        mesh.stop()


def test_an_earlier_envoy_takes_all_that_it_is_told(mixed: Mesh, request: pytest.FixtureRequest) -> None:
    version = mixed.workload("old")["envoy"]
    assert version in request.node.name
    until("it confirms", lambda: all_confirmed(mixed.items("proxies")))
    assert not [one for one in mixed.problems() if one["severity"] == "error"]


def test_both_call_each_other_by_the_same_rules(mixed: Mesh) -> None:
    for caller, host in (("old", "new"), ("new", "old")):
        client = Client(mixed.proxy_of(caller))
        until(f"{caller} finds {host}", lambda client=client, host=host: client(f"http://{host}/").status == 200)  # type: ignore[misc]
        answer = client(f"http://{host}/")
        assert answer.status == 200
        assert f"spiffe://cluster.local/ns/default/sa/{caller}" in answer.body.decode()
    assert Client(mixed.proxy_of("new"))("http://old/fault").status == 418
    assert Client(mixed.proxy_of("old"))("http://old/fault").status == 418
