"""weft check, analyze and report on a mesh of real Envoys: all is well, then faults are made, and each is named."""

from __future__ import annotations

import base64
import json
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

from support.http import Client
from support.mesh import Mesh, until

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
  - fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}
    timeout: 2s
    retries: {attempts: 2, perTryTimeout: 1s}
    route: [{destination: {host: echo, subset: v9}}]
"""
ABORT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http: [{fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, route: [{destination: {host: echo}}]}]
"""
SECRET = "correct-horse-battery-staple"
SECRETS = f"""
apiVersion: v1
kind: Secret
metadata:
  name: s
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{{"stringData": {{"password": "{SECRET}"}}}}'
stringData: {{password: {SECRET}}}
"""


def checked(mesh: Mesh) -> dict[str, dict[str, Any]]:
    """The findings by their codes."""
    done = mesh.weft("check", "-o", "json", check=False)
    return {one["code"]: one for one in json.loads(done.stdout)["findings"]}


def test_faults_are_named_with_their_place_and_command(mesh: Mesh, tmp_path: Path) -> None:
    mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--lease", "600")
    mesh.apply(SERVICES)
    mesh.echo("echo-v1", app="echo", wait=False)
    mesh.echo("other-v1", app="other", wait=False)
    mesh.wait_healthy("echo-v1", "other-v1")
    until("all is well", lambda: "all is well" in mesh.weft("check").stdout)
    versions = {one["envoy"] for one in mesh.items("proxies")}
    assert len(versions) == 1
    assert next(iter(versions)).startswith("1.")

    mesh.weft("apply", "-f", "-", stdin=ROUTE, check=False)
    found = checked(mesh)
    assert {"unknown-subset", "fault-in-force", "timeout-below-tries"} <= found.keys()
    assert found["unknown-subset"]["source"] == "<stdin>:11"
    assert found["unknown-subset"]["number"] == "WEFT0203"
    assert mesh.weft("check", check=False).returncode == 2
    listed = json.loads(mesh.weft("analyze", "-o", "json", check=False).stdout)["findings"]
    assert {"unknown-subset", "fault-in-force"} <= {one["code"] for one in listed}
    mesh.delete(ROUTE)

    caller = Client(mesh.proxy_of("other-v1"))
    until("the service is loaded", lambda: caller("http://echo/").status == 200)
    with mesh.applied(ABORT):
        assert {caller("http://echo/").status for _ in range(10)} == {503}
        caller.close()

        def told_of_all() -> dict[str, Any]:
            found = checked(mesh)["high-error-rate"]
            return found if "(503: 10)" in found["message"] else {}

        told = until("the traffic tells of it", told_of_all)
        assert told["about"] == "default/other-v1 to default/echo"
        assert told["fix"] == "weft explain --from other-v1 http://echo/"

    state = mesh.state("other-v1")
    os.kill(state["agent"]["pid"], signal.SIGKILL)
    os.kill(state["envoy"]["pid"], signal.SIGKILL)
    os.kill(state["application"]["pid"], signal.SIGKILL)  # nobody is there any more to end it

    def told_of_death() -> dict[str, dict[str, Any]]:
        found = checked(mesh)
        return found if found.keys() >= {"endpoint-unreachable", "proxy-not-connected"} else {}

    found = until("the dead endpoint is told", told_of_death)
    assert found["endpoint-unreachable"]["about"] == "workload other-v1.default"
    assert "Connection refused" in found["endpoint-unreachable"]["message"]
    assert found["proxy-not-connected"]["fix"] == "weft logs --proxy other-v1"

    mesh.apply(SECRETS)
    mesh.weft("report", "--file", str(tmp_path / "report.tar.gz"))
    hold_no_secrets(mesh, tmp_path / "report.tar.gz")
    mesh.processes["control-plane"].stop()
    down = mesh.weft("check", check=False)
    assert (down.returncode, "control-plane-down" in down.stdout) == (2, True)
    mesh.weft("report", "--file", str(tmp_path / "down.tar.gz"))
    with tarfile.open(tmp_path / "down.tar.gz") as packed:
        assert "down/workloads/default/echo-v1/stats.txt" in packed.getnames()


def hold_no_secrets(mesh: Mesh, path: Path) -> None:
    """No value of a Secret, no key and no token of the mesh is in any part of the bundle."""
    secrets = [SECRET, base64.b64encode(SECRET.encode()).decode()]
    secrets += [file.read_text().strip() for file in mesh.home.rglob("*.token")]
    for file in mesh.home.rglob("*.pem"):
        blocks = file.read_text().split("-----BEGIN ")
        secrets += ["".join(one.splitlines()[1:2]) for one in blocks if "PRIVATE KEY-----" in one.partition("\n")[0]]
    assert len(secrets) >= 6, "the keys of the authority and of workloads are among them"
    with tarfile.open(path) as packed:
        names = [member.name for member in packed]
        whole = b"".join(stream.read() for member in packed if (stream := packed.extractfile(member)) is not None)
    assert {f"report/{name}" for name in ("documents.json", "history.json", "findings.json")} <= set(names)
    assert any(name.startswith("report/proxies/echo-v1") for name in names)
    assert any(name.endswith("echo-v1/stats.txt") for name in names)
    for secret in secrets:
        assert secret.encode() not in whole
    assert b"Secret" in whole
