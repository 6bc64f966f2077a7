"""Two hosts with a link between them: what is printed on the one works on the other as it is printed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, Proc, until
from weft.agent.certificates import CertificateFiles
from weft.agent.keys import make_key
from weft.ca.authority import open_authority
from weft.model.identity import SpiffeId
from weft.settings.home import Home
from weft.settings.ports import VARIABLE, own_ports

ECHO = (sys.executable, str(APPS / "http_echo.py"))
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    (tmp_path / "mesh.yaml").write_text("---".join(SERVICES.replace("NAME", name) for name in ("web", "echo")))
    with two_hosts(tmp_path) as hosts:
        yield hosts


def serve(host: Host, *words: str) -> Proc:
    """Start the control plane and wait until it answers."""
    proc = host.spawn(*WEFT, "serve", "--documents", str(host.home.parent / "mesh.yaml"), *words)
    until("the control plane answers", lambda: proc.process.poll() is not None or "ready: " in proc.output())
    assert proc.process.poll() is None, proc.output()
    return proc


def invitation(host: Host, name: str, *words: str) -> str:
    """What `weft token create` prints for a workload of the service account echo."""
    own = ("--service-account", "echo", "--name", name, "--labels", "app=echo", "--port", "8080:auto", *words)
    return host.weft("token", "create", *own, "--", *ECHO).stdout


def without_token(printed: str) -> str:
    return printed.split("\\\n", 1)[1]


def join(host: Host, printed: str, name: str) -> Proc:
    """Run a printed command as it is."""
    return host.spawn("sh", "-c", printed, WORKLOAD=name)


def let_expire(control: Host, host: Host, name: str) -> None:
    """Put a certificate in the place of the workload's that was issued two days ago."""
    then = time.time() - 2 * 86400
    authority = open_authority(Home(control.home).ca, clock=lambda: then)
    fresh = make_key()
    issued = authority.issue(fresh.csr, SpiffeId("cluster.local", "default", "echo"), f"{name}.default")
    CertificateFiles(Home(host.home).workload("default", name)).install(fresh.key, issued)


def says(proc: Proc, words: str) -> None:
    until(f"the agent says '{words}'", lambda: words in proc.output(), 90)


def test_the_printed_command_joins_another_host(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    serve(one, "--bind", "0.0.0.0")
    web = ("--name", "web", "--labels", "app=web", "--service-account", "web", "--port", "8080:auto")
    one.spawn(*WEFT, "run", *web, "--inbound-address", one.address, "--", *ECHO, WORKLOAD="web")
    healthy(one, "web")
    printed = invitation(one, "echo-two")
    assert f"--control-plane {one.address}:15013" in printed
    agent = join(two, printed, "echo-two")
    inbound = healthy(one, "echo-two")["ports"][0]["inbound"]
    assert inbound["host"] == two.address
    says(agent, f"callers reach this workload at {two.address}:{inbound['port']}")
    until("there", lambda: '"echo-two"' in one.curl("web", "http://echo/"))
    until("and back", lambda: '"web"' in two.curl("echo-two", "http://web/"))
    (used,) = json.loads(one.weft("token", "list", "-o", "json").stdout)
    assert used["state"] == "used"
    loopback = without_token(printed).replace("--name echo-two", "--name lost --inbound-address 127.0.0.1")
    refused = two.call("sh", "-c", loopback)
    assert refused.returncode == 2
    assert f"cannot reach loopback; leave the option out to be reached at {two.address}" in refused.stderr
    listed = json.loads(one.weft("get", "workloads", "-o", "json").stdout)
    assert {row["name"] for row in listed} == {"web", "echo-two"}


def test_another_host_joins_a_mesh_that_is_up(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = hosts
    web = {"name": "web", "labels": {"app": "web"}, "ports": ["8080:auto"], "command": ECHO, "env": {"WORKLOAD": "web"}}
    mesh = {"bind": one.address, "documents": ["mesh.yaml"], "workloads": [web]}
    (tmp_path / "weft.yaml").write_text(json.dumps(mesh))
    up = one.spawn(*WEFT, "up", "-f", str(tmp_path / "weft.yaml"))
    says(up, f"other hosts join at {one.address}")
    join(two, invitation(one, "echo-two"), "echo-two")
    healthy(one, "echo-two")
    for host, name, other in ((one, "web", "echo"), (two, "echo-two", "web")):
        until(f"{name} calls {other}", lambda h=host, n=name, o=other: f'"{o}' in h.curl(n, f"http://{o}/"))  # type: ignore[misc]


def test_what_does_not_connect_is_said(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = hosts
    one.spawn(sys.executable, "-m", "http.server", "15012", "--bind", "127.0.0.1")
    until("taken", lambda: "15012" in one.call("ss", "-ltn").stdout)
    refused = one.weft("serve", "--bind", "0.0.0.0", check=False)
    assert refused.returncode == 1
    assert "port 15012 on 0.0.0.0 is in use" in refused.stderr
    assert "ss -ltnp 'sport = :15012'" in refused.stderr
    proc = serve(one, "--bind", one.address, "--xds-port", "15112")
    says(proc, f"xDS {one.address}:15112, agent API {one.address}:15013")
    printed = invitation(one, "echo-two")
    for wrong, words in (
        (printed.replace(":15013", ":15019"), "TCP: Connection refused: nothing listens there"),
        (printed.replace("sha256:", "sha256:00"), "another CA than the given fingerprint"),
    ):
        says(join(two, wrong, "echo-two"), words)
        two.stop()
    monkeypatch.delenv(VARIABLE, raising=False)  # the other host chooses from all
    ports = own_ports()
    one.block_answers("15112")
    two.block_answers(f"{ports.start}-{ports.stop - 1}")
    agent = join(two, printed, "echo-two")
    says(agent, f"the xDS server at {one.address}:15112 does not: TCP: no answer")
    one.unblock_answers("15112")
    says(agent, f"does not reach this workload, so no caller may: {two.address}:")
    assert "no answer in 3 s" in agent.output()


def test_an_expired_certificate_and_a_new_authority(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    control = serve(one, "--bind", one.address)
    join(two, invitation(one, "echo-two"), "echo-two")
    healthy(one, "echo-two")
    two.stop_agents()
    let_expire(one, two, "echo-two")
    printed = invitation(one, "echo-two")
    again = two.call("sh", "-c", without_token(printed))
    assert again.returncode == 1
    assert "its certificate has expired at 20" in again.stderr
    assert "weft token create" in again.stderr
    second = join(two, printed, "echo-two")
    healthy(one, "echo-two")
    envoy = two.state("echo-two").envoy
    control.stop()
    shutil.rmtree(one.home / "control-plane")
    serve(one, "--bind", one.address)
    says(second, "proves itself by another authority")
    assert envoy is not None
    assert envoy.alive, "the agent's complaint stops no traffic"
    two.stop_agents()
    printed = invitation(one, "echo-two")
    other = two.call("sh", "-c", without_token(printed))
    assert other.returncode == 1
    assert "of another authority than the given fingerprint" in other.stderr
    join(two, printed, "echo-two")
    healthy(one, "echo-two")


def test_a_token_that_is_good_once_is_enough_where_documents_ask_for_worker_threads(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    """The agent registers a second time, to say with how many its proxy starts."""
    more = """---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: two}
spec: {selector: {matchLabels: {app: echo}}, concurrency: 2}
"""
    with (tmp_path / "mesh.yaml").open("a") as documents:
        documents.write(more)
    one, two = hosts
    serve(one, "--bind", "0.0.0.0")
    join(two, invitation(one, "echo-two"), "echo-two")
    assert healthy(one, "echo-two")["workers"] == 2
