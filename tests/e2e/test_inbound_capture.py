"""Capture of callers with root: they call an application at its own port, and meet its proxy there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, Proc, until

pytestmark = pytest.mark.timeout(300)
FIREWALLS = [
    name for name, program in (("nft", "nft"), ("iptables", "iptables-restore")) if shutil.which(program)
] if os.geteuid() == 0 else []  # fmt: skip
UID = "61001"
AS_STRANGER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--")
SECRET = "said-in-clear"
TWO, TWO_6 = "10.77.0.2", "fd77:77::2"
PLAIN = f"http://{TWO}:8080/"
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: seen}
spec: {selector: {app: seen}, ports: [{name: http, port: 80, targetPort: 8082}]}
---
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: tcp, port: 7000, targetPort: 7000}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
PERMISSIVE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}
"""


@dataclass
class Called:
    """A host that calls, with the control plane, and one that is called."""

    one: Host
    two: Host
    control: Proc
    directory: Path

    def plain(self, url: str = PLAIN, *words: str, host: Host | None = None) -> str:
        """The status that a caller without a proxy gets; 000: none."""
        done = (host or self.one).call(*words, "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url)
        return done.stdout

    def mesh(self, host: str = "web") -> dict[str, str]:
        """What the client gets through its sidecar: the application's answer."""
        answer = self.one.curl("client", f"http://{host}/")
        return json.loads(answer) if answer.startswith("{") else {"workload": answer}

    def greeting(self) -> list[str]:
        """What a server that speaks first says, through the client's sidecar."""
        port = self.one.state("client").upstreams[0].listen.port
        return self.one.call(sys.executable, str(APPS / "bytes_client.py"), "127.0.0.1", str(port)).stdout.split()

    def capture(self, name: str, *words: str, check: bool = True) -> str:
        """`weft capture` for a workload of the host that is called."""
        done = self.two.weft("capture", words[0], "--workload", name, *words[1:], check=check)
        return done.stdout + done.stderr

    def counted(self, name: str, rule: str) -> int:
        """How many packets have met a rule."""
        told = json.loads(self.capture(name, "show", "-o", "json"))
        return int(told["counted"].get(rule, {"packets": 0})["packets"])

    def rules(self) -> str:
        """Every rule of the host that is called, by whatever program; without what they have counted, which goes on."""
        done = self.two.call("sh", "-c", "nft list ruleset; ip rule; ip route show table all type local")
        return re.sub(r"packets \d+ bytes \d+", "packets N bytes N", done.stdout)

    def wire(self) -> bytes:
        """What the link has carried."""
        return (self.directory / "wire").read_bytes()


def _served(mesh: Called, app: str, program: str, port: int, how: str = "on") -> None:
    """Run an application on the host that is called, which listens at every address."""
    own = ("--service-account", app, "--name", app, "--labels", f"app={app}", "--port", str(port))
    command = mesh.one.weft("token", "create", *own, "--", sys.executable, str(APPS / program)).stdout
    said = {"WORKLOAD": app, "WEFT_HOST": "0.0.0.0", "PORT": str(port), "WEFT_INBOUND_CAPTURE": how}
    mesh.two.spawn("sh", "-c", command, **said)
    healthy(mesh.one, app)


@pytest.fixture(scope="module", params=FIREWALLS[:1])
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Called]:
    directory = tmp_path_factory.mktemp("inbound")
    directory.chmod(0o755)
    with two_hosts(directory) as (one, two):
        for host, own in ((one, "fd77:77::1"), (two, TWO_6)):
            assert host.call("ip", "-6", "address", "add", f"{own}/64", "dev", "weft0", "nodad").returncode == 0
        control = one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
        until("the control plane answers", lambda: "ready: " in control.output())
        (directory / "documents.yaml").write_text(DOCUMENTS)
        one.weft("apply", "-f", str(directory / "documents.yaml"))
        found = Called(one, two, control, directory)
        one.spawn(*WEFT, "run", "--name", "client", "--service-account", "client", "--upstream", "greeter:7000")
        healthy(one, "client")
        _served(found, "web", "http_echo.py", 8080)
        _served(found, "greeter", "tcp_name.py", 7000)
        two.spawn(sys.executable, str(APPS / "http_echo.py"), WEFT_HOST="0.0.0.0", PORT="8888", WORKLOAD="unknown")
        until("the stranger answers", lambda: found.plain(f"http://{TWO}:8888/") == "200")
        wire = two.spawn(sys.executable, str(APPS / "wire.py"), "weft0", str(directory / "wire"))
        until("the wire is seen", lambda: "ready" in wire.output())
        yield found


@pytest.fixture(scope="module", params=FIREWALLS)
def firewall(request: pytest.FixtureRequest, mesh: Called) -> Iterator[str]:
    """Rules for both workloads, by each program of them; tests leave them as they are."""
    name: str = request.param
    for workload in ("web", "greeter"):
        mesh.capture(workload, "install", "--with", name)
    yield name
    for workload in ("web", "greeter"):
        mesh.capture(workload, "uninstall")


def test_callers_meet_the_proxy_at_the_application_s_own_port(mesh: Called, firewall: str) -> None:
    assert mesh.two.state("web").ports[0].inbound.port == 8080
    answer = mesh.mesh()
    assert answer["workload"] == "web", answer
    assert "ns/default/sa/client" in json.dumps(answer), "the application was told of the caller's certificate"
    assert mesh.greeting() == ["greeter", SECRET]
    assert SECRET.encode() not in mesh.wire()
    for url in (PLAIN, f"http://[{TWO_6}]:8080/", f"http://{TWO}:7000/"):
        assert mesh.plain(url) == "000", "plaintext is refused"
    assert mesh.plain(f"http://{TWO}:8888/") == "200", "other ports are not captured"
    assert mesh.counted("web", "inbound") >= 2
    for host in (mesh.one, mesh.two):
        port = mesh.two.state("web").inbound_capture
        assert mesh.plain(f"http://{TWO}:{port}/", host=host) == "000", "nobody dials the port itself"
    assert mesh.counted("web", "dialled") >= 2


def test_who_is_on_the_same_host_meets_the_proxy_too(mesh: Called, firewall: str) -> None:
    before = mesh.counted("web", "local")
    assert mesh.plain(PLAIN, host=mesh.two) == "000"
    assert mesh.counted("web", "local") == before + 1
    assert mesh.two.curl("greeter", "http://web/").startswith("{"), "the sidecar of another workload is served"


def test_every_port_that_is_not_left_alone_is_closed_if_all_are_captured(mesh: Called, firewall: str) -> None:
    left = "8888"
    mesh.capture("web", "install", "--with", firewall, "--inbound", "all", "--exclude-inbound-port", left)
    mesh.two.spawn(sys.executable, str(APPS / "http_echo.py"), WEFT_HOST="0.0.0.0", PORT="8889")
    until("it answers", lambda: mesh.plain("http://127.0.0.1:8889/", host=mesh.two) == "200")
    assert mesh.plain(f"http://{TWO}:8888/") == "200"
    assert mesh.plain(f"http://{TWO}:8889/") == "000"
    assert mesh.mesh()["workload"] == "web"
    assert mesh.greeting() == ["greeter", SECRET], "own ports of another workload come first"
    mesh.capture("web", "install", "--with", firewall, "--inbound", "all", "--exclude-source", "10.77.0.0/24")
    assert mesh.plain(f"http://{TWO}:8889/") == "200"
    mesh.two.processes[-1].stop()
    mesh.capture("web", "install", "--with", firewall)


def test_over_loopback_strangers_are_kept_out_if_that_is_asked_for(mesh: Called, firewall: str) -> None:
    url = "http://127.0.0.1:8080/"
    assert mesh.plain(url, *AS_STRANGER, host=mesh.two) == "200"
    mesh.capture("web", "install", "--with", firewall, "--guard")
    assert mesh.plain(url, *AS_STRANGER, host=mesh.two) == "000"
    assert mesh.plain(url, host=mesh.two) == "200", "root and the proxy are let in"
    assert mesh.mesh()["workload"] == "web"
    mesh.capture("web", "install", "--with", firewall)


@pytest.mark.parametrize("firewall", FIREWALLS[:1], indirect=True)
def test_what_a_port_accepts_is_what_documents_say_and_no_other_port_is_touched(mesh: Called, firewall: str) -> None:
    permissive = mesh.directory / "permissive.yaml"
    permissive.write_text(PERMISSIVE)
    port = mesh.one.state("client").upstreams[0].listen.port
    with_greeter = mesh.one.spawn(
        sys.executable, "-c",
        f"import socket; s = socket.create_connection(('127.0.0.1', {port})); print(s.recv(9), flush=True); s.recv(9)",
    )  # fmt: skip
    until("it is greeted", lambda: "greeter" in with_greeter.output())
    mesh.one.weft("apply", "-f", str(permissive), "--wait")
    until("plaintext is accepted", lambda: mesh.plain() == "200")
    assert mesh.mesh()["workload"] == "web"
    mesh.one.weft("delete", "-f", str(permissive), "--wait")
    until("plaintext is refused", lambda: mesh.plain() == "000")
    assert with_greeter.process.poll() is None, "a connection to another workload stays"
    with_greeter.stop()


def test_what_is_taken_away_leaves_no_trace_and_the_port_is_closed_to_who_dials_it(mesh: Called, firewall: str) -> None:
    for other in set(FIREWALLS) - {firewall}:
        assert f"in force by {firewall} already" in mesh.capture("web", "install", "--with", other, check=False)
    mesh.capture("web", "uninstall")
    mesh.capture("greeter", "uninstall")
    before = mesh.rules()
    assert "weft." not in before
    assert "WEFT-" not in before
    mesh.capture("web", "install", "--with", firewall, "--guard", "--inbound", "all")
    mesh.capture("web", "install", "--with", firewall)
    assert mesh.rules() != before
    assert json.loads(mesh.capture("web", "show", "-o", "json"))["firewalls"] == [firewall]
    mesh.capture("web", "uninstall")
    if firewall == "nft":
        assert mesh.rules() == before
    assert "WEFT-" not in mesh.rules()
    port = mesh.two.state("web").inbound_capture
    done = mesh.one.call("curl", "-sS", "-m", "5", f"http://{TWO}:{port}/")
    assert done.returncode in (52, 56), "without rules it is the proxy that closes it"
    assert "there was no table" in mesh.capture("web", "uninstall")
    for workload in ("web", "greeter"):
        mesh.capture(workload, "install", "--with", firewall)


@pytest.mark.parametrize("firewall", FIREWALLS[:1], indirect=True)
def test_a_proxy_that_is_killed_lets_nobody_in_until_the_next_is_there(mesh: Called, firewall: str) -> None:
    assert mesh.mesh()["workload"] == "web"
    envoy = mesh.two.state("web").envoy
    assert envoy is not None
    os.kill(envoy.pid, signal.SIGKILL)
    assert mesh.plain() == "000"
    until("the agent has another proxy", lambda: mesh.mesh()["workload"] == "web")
    assert mesh.plain() == "000"


def test_with_tproxy_the_application_sees_its_callers(mesh: Called, firewall: str) -> None:
    if not (mesh.two.home / "workloads" / "default" / "seen").is_dir():
        _served(mesh, "seen", "http_echo.py", 8082, "tproxy")
    before = mesh.rules()
    mesh.capture("seen", "install", "--with", firewall)
    answer = mesh.mesh("seen")
    assert (answer["workload"], answer.get("client")) == ("seen", mesh.one.address), answer
    assert mesh.plain(f"http://{TWO}:8082/") == "000"
    assert mesh.plain(f"http://[{TWO_6}]:8082/") == "000"
    here = json.loads(mesh.two.curl("greeter", "http://seen/"))
    assert here["client"] in (TWO, "127.0.0.1"), here
    assert mesh.counted("seen", "inbound") > 0
    mesh.capture("seen", "uninstall")
    if firewall == "nft":
        assert mesh.rules() == before
    assert "iif lo" not in mesh.rules()
