"""The table of docs/faults.md on a real mesh: each fault is made, and explain names its cause and its line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from support.http import Client
from support.mesh import APPS, Mesh, until

PAGE = Path(__file__).parent.parent.parent / "docs" / "faults.md"
ECHO = [sys.executable, str(APPS / "http_echo.py")]
ROWS = {
    cells[0]: cells[2].strip("`")
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
}

CHECKED = {
    "wrong port name": "ports-disagree",
    "missing subset": "unknown-subset",
    "wrong host": "unknown-host",
    "expired certificate": "certificate-expired",
    "NACK": "nack",
    "dead endpoint": "connections-fail",
    "slow callee": "calls-time-out",
    "retry storm": "retry-storm",
    "DNS failure": "dns-fails",
    "TLS mismatch": "tls-mismatch",
    "overload": "overload",
    "a client that does not use its proxy": "proxy-unused",
    "denied by a policy": "calls-denied",
}
"""What check calls each."""


class Faults:
    """A mesh and what is asked of it."""

    def __init__(self, mesh: Mesh, directory: Path) -> None:
        self.mesh, self.directory = mesh, directory

    @contextlib.contextmanager
    def applied(self, text: str) -> Iterator[Path]:
        """Documents in force from a file, whatever is wrong with them."""
        file = self.directory / "fault.yaml"
        file.write_text(text)
        self.mesh.weft("apply", "-f", str(file), "--wait", "--timeout", "20", check=False)
        try:
            yield file
        finally:
            self.mesh.weft("delete", "-f", str(file), "--wait", check=False)

    def explained(self, *words: str) -> dict[str, Any]:
        """What explain says, as JSON."""
        done = self.mesh.weft("explain", *words, "-o", "json", check=False)
        assert done.returncode in (0, 1), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def failed(self, workload: str, path: str, flag: str = "", host: str = "") -> str:
        """The id of a request that a workload's proxy noted."""

        return until(f"the request to {path} is noted", lambda: self.look(workload, path, flag, host))

    def look(self, workload: str, path: str, flag: str, host: str = "") -> str:
        """The same, if it is there already. Other tests of this mesh call too: `host` tells whom."""
        found = self.mesh.api(f"requests?workload={workload}&limit=100")["requests"]
        meant = [one for one in found if one["path"] == path and host in one["host"]]
        ids = [one["id"] for one in meant if not flag or flag in one["flags"].split(",")]
        return str(ids[0]) if ids else ""

    def says(self, row: str, *words: str, source: str = "") -> dict[str, Any]:
        """Explain says what the row of the page says, as text and as JSON, and at this place."""
        phrase = ROWS[row]
        text = self.mesh.weft("explain", *words, check=False).stdout
        assert phrase in text, text
        found = self.explained(*words)
        cause = next(one for one in found["causes"] if phrase in one["text"])
        assert source in cause["source"], cause
        until("check finds it too", lambda: self.checked(CHECKED[row], source))
        return found

    def checked(self, code: str, source: str) -> bool:
        """Whether check has a finding of this code, at this place or about this workload."""
        found = json.loads(self.mesh.weft("check", "-o", "json", check=False).stdout)["findings"]
        places = [f"{one['source']} {one['about']}" for one in found if one["code"] == code]
        document = source.rpartition(":")[0] or source.rpartition("/")[2]
        return any(document in place for place in places)


@pytest.fixture
def faults(world: Mesh, tmp_path: Path) -> Faults:
    return Faults(world, tmp_path)


def line_of(file: Path, words: str) -> str:
    number = next(index for index, line in enumerate(file.read_text().splitlines(), 1) if words in line)
    return f"{file}:{number}"


def test_the_page_has_a_row_for_each_fault() -> None:
    text = Path(__file__).read_text()
    rows = [row for row in ROWS if row not in ("fault", "---")]
    assert len(rows) == 13
    assert all(re.search(rf'says\(\s*"{re.escape(row)}"', text) for row in rows)


def test_a_wrong_port_name(faults: Faults, client: Client) -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: named}
spec:
  selector: {app: echo}
  ports:
    - name: tcp-web
      port: 80
      targetPort: 8080
"""
    with faults.applied(text) as file:
        assert client("http://named/").status in (404, 502)
        faults.says("wrong port name", "--from", "client", "http://named/", source=line_of(file, "tcp-web"))


def test_a_missing_subset(faults: Faults, client: Client) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
    - route: [{destination: {host: echo, subset: v9}}]
"""
    with faults.applied(text) as file:
        assert client("http://echo/subset").status == 503
        where = line_of(file, "subset: v9")
        found = faults.says("missing subset", "--from", "client", "http://echo/subset", source=where)
        assert found["answer"]["status"] == 503
        seen = faults.explained(faults.failed("client", "/subset"))
        assert seen["hops"][0]["rule"] == {"object": "VirtualService default/echo", "source": where}
        assert [one["object"] for one in seen["changed"]][:1] == ["VirtualService default/echo"]


def test_a_wrong_host(faults: Faults, client: Client) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
    - route:
        - destination:
            host: ehco
"""
    with faults.applied(text) as file:
        assert client("http://echo/host").status == 503
        found = faults.says("wrong host", "--from", "client", "http://echo/host", source=line_of(file, "host: ehco"))
        assert any("did you mean 'echo'?" in cause["fix"] for cause in found["causes"])
    assert client("http://ehco/").status == 503
    [cause] = faults.explained("--from", "client", "http://ehco/")["causes"]
    assert (cause["code"], cause["fix"]) == ("unknown-host", "did you mean 'echo'?")


def test_a_nack(faults: Faults) -> None:
    taken = faults.mesh.inbound_of("other")[1]
    broken = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: weft
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - {{name: clash, port: {taken}, protocol: HTTP}}
"""
    good = broken.replace(broken.splitlines()[-1], "")
    file = faults.directory / "gateway.yaml"
    file.write_text(broken)
    try:
        faults.mesh.weft("apply", "-f", str(file), "--wait", "--timeout", "20", check=False)
        faults.says("NACK", "--from", "front", "http://shop.example.com/", source="gateway.yaml:")
    finally:
        faults.mesh.apply(good)
    until("the NACK is gone", lambda: not any(one["code"] == "nack" for one in faults.mesh.problems()))


def test_a_dead_endpoint(tmp_path: Path) -> None:
    """Its registration is there as long as its lease, which nobody renews."""
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    faults = Faults(mesh, tmp_path)
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--lease", "600")
        mesh.apply("""
apiVersion: v1
kind: Service
metadata: {name: doomed}
spec: {selector: {app: doomed}, ports: [{name: http, port: 80, targetPort: 8080}]}
""")
        proc = mesh.run("doomed", ECHO, app="doomed", wait=False)
        mesh.run("caller", ECHO, app="caller", wait=False)
        mesh.wait_healthy("doomed", "caller")
        client = Client(mesh.proxy_of("caller"))
        until("it answers", lambda: client("http://doomed/").status == 200)
        state = mesh.state("doomed")
        for pid in (proc.pid, state["envoy"]["pid"], state["application"]["pid"]):
            os.kill(pid, signal.SIGKILL)
        proc.process.wait()

        def refused() -> str:
            """Connections that were open break first; then none can be made."""
            assert client("http://doomed/dead").status == 503
            return faults.look("caller", "/dead", "UF")

        found = faults.says("dead endpoint", until("no connection can be made", refused), source="caller.default")
        assert found["answer"]["outcome"] == "failed"
        assert any(one["workload"] == "doomed.default" for hop in found["hops"] for one in hop["endpoints"])
    finally:
        mesh.stop()


def test_a_slow_callee(faults: Faults, client: Client) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other}
spec:
  hosts: [other]
  http:
    - timeout: 0.2s
      route: [{destination: {host: other}}]
"""
    with faults.applied(text) as file:
        assert client("http://other/delay/3").status == 504
        where = line_of(file, "timeout: 0.2s")
        found = faults.says("slow callee", faults.failed("client", "/delay/3", "UT", "other"), source=where)
        caller = next(hop for hop in found["hops"] if hop["side"] == "outbound")
        assert caller["status"] == 504
        assert caller["duration_ms"] >= 190
        assert caller["flags"] == "UT"


def test_a_retry_storm(faults: Faults, client: Client) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other}
spec:
  hosts: [other]
  http:
    - retries: {attempts: 5, retryOn: 5xx}
      route: [{destination: {host: other}}]
"""
    with faults.applied(text) as file:
        assert client("http://other/status/503").status == 503
        where = line_of(file, "retries:")
        request = faults.failed("client", "/status/503", host="other")
        until("each try is noted", lambda: len(faults.explained(request)["hops"]) >= 7)
        found = faults.says("retry storm", request, source=where)
        assert any(cause["code"] == "application-error" for cause in found["causes"])
        described = faults.explained("--from", "client", "http://other/status/503")
        assert "tries again up to 5 times on 5xx" in " ".join(described["hops"][0]["does"])


def test_a_name_that_dns_does_not_have(faults: Faults, client: Client) -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: payments}
spec:
  type: ExternalName
  externalName: nowhere.invalid
  ports: [{name: http, port: 80}]
"""
    with faults.applied(text) as file:
        assert client("http://payments/").status == 503
        found = faults.says("DNS failure", "--from", "client", "http://payments/", source=f"{file}:")
        assert found["answer"]["status"] == 503


def test_a_tls_mismatch(faults: Faults, client: Client) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec:
  host: other
  trafficPolicy: {tls: {mode: DISABLE}}
"""
    with faults.applied(text) as file:
        until("it fails", lambda: client("http://other/plain").status == 503)
        found = faults.says("TLS mismatch", "--from", "client", "http://other/plain", source=f"{file}:")
        assert found["answer"]["status"] == 503
        seen = faults.explained(faults.failed("client", "/plain"))
        assert any(cause["code"] == "tls-mismatch" for cause in seen["causes"])


def test_overload(faults: Faults, world: Mesh) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec:
  host: other
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 1}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}
"""

    def call(_number: int) -> int:
        return Client(world.proxy_of("client"))("http://other/delay/0.5").status

    with faults.applied(text) as file:
        with ThreadPoolExecutor(12) as pool:
            until("some are refused", lambda: 503 in set(pool.map(call, range(12))))
        where = line_of(file, "connectionPool:")
        faults.says("overload", faults.failed("client", "/delay/0.5", "UO", "other"), source=where)


def test_a_client_that_does_not_use_its_proxy(faults: Faults) -> None:
    mesh = faults.mesh
    proc = mesh.run("loner", ["sleep", "600"], port="", more=["--uses", "echo"], wait=False)
    try:
        until("it is noticed", lambda: mesh.workload("loner")["unused_proxy"], 90)
        faults.says(
            "a client that does not use its proxy", "--from", "loner", "http://echo/", source="workload default/loner"
        )
    finally:
        proc.stop()
        mesh.processes.pop("loner")


def test_an_expired_certificate(tmp_path: Path) -> None:
    """The agent stands still, so nobody renews; its Envoy and its application go on."""
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    faults = Faults(mesh, tmp_path)
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--lease", "600",
                   "--certificate-ttl", "10")  # fmt: skip
        mesh.apply("""
apiVersion: v1
kind: Service
metadata: {name: mortal}
spec: {selector: {app: mortal}, ports: [{name: http, port: 80, targetPort: 8080}]}
""")
        mortal = mesh.run("mortal", ECHO, app="mortal", wait=False)
        mesh.run("caller", ECHO, app="caller", wait=False)
        mesh.wait_healthy("mortal", "caller")
        mortal.process.send_signal(signal.SIGSTOP)
        try:
            chains = (tmp_path / "home/workloads/default/mortal/certs").rglob("chain.pem")
            # the certificate before may be there as well
            leaves = [x509.load_pem_x509_certificates(each.read_bytes())[0] for each in chains]
            end = max(leaf.not_valid_after_utc.timestamp() for leaf in leaves)
            until("its certificate has expired", lambda: time.time() > end + 1)
            assert Client(mesh.proxy_of("caller"))("http://mortal/late").status == 503
            faults.says("expired certificate", faults.failed("caller", "/late", "UF"), source="mortal.default")
        finally:
            mortal.process.send_signal(signal.SIGCONT)
    finally:
        mesh.stop()


def test_denied_by_a_policy(faults: Faults) -> None:
    text = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  rules:
    - from: [{source: {serviceAccounts: [echo]}}]
    - to: [{operation: {paths: [/public/*]}}]
"""
    other, question = Client(faults.mesh.proxy_of("other")), ("authz", "check", "default/other", "default/client:80")
    with faults.applied(text) as file, contextlib.closing(other):
        for _ in range(7):
            assert other("http://client/denied").status == 403
        where = line_of(file, "apiVersion")
        found = faults.says("denied by a policy", "--from", "other", "http://client/denied", source=where)
        assert (found["answer"]["outcome"], found["answer"]["status"]) == ("refused", 403)
        seen = faults.explained(faults.failed("client", "/denied"))
        assert (seen["causes"][0]["code"], seen["causes"][0]["source"]) == ("access-denied", where)
        assert "denied GET /denied from other.default" in seen["causes"][0]["text"]
        judged = faults.mesh.weft(*question, "-o", "json", check=False)
        policy = {"object": "AuthorizationPolicy default/client", "source": where}
        assert judged.returncode == 1
        assert json.loads(judged.stdout) | {"reason": ""} == {"allowed": False, "policy": policy, "reason": ""}
        assert other("http://client/public/x").status == 200
        judged = faults.mesh.weft(*question, "--path", "/public/x", "-o", "json")
        assert json.loads(judged.stdout)["policy"]["source"] == line_of(file, "/public/*")
        matrix = json.loads(faults.mesh.weft("authz", "matrix", "-o", "json").stdout)
        column = [one["name"] for one in matrix["targets"]].index("default/client:80")
        rows = {one["name"]: row[column] for one, row in zip(matrix["callers"], matrix["cells"], strict=True)}
        answers = {name: matrix["answers"][number]["reaches"] for name, number in rows.items()}
        assert answers["nobody"] == "no" and "some" in answers.values()
