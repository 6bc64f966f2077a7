"""Capture that cannot be got round, for an ordinary user: calls out and in over mutual TLS, and no other way."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Switch, healthy, three_hosts
from support.mesh import APPS, WEFT, Proc, alive, until
from weft.agent.strict.mode import why_not_strict

pytestmark = pytest.mark.timeout(300)
HERE = [] if why_not_strict() or os.geteuid() else ["strict"]
"""Some systems let nobody make namespaces, and hosts at a switch are root's to make."""
ECHO = (sys.executable, str(APPS / "http_echo.py"))
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: client}
spec: {selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
POLICY = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {outboundTrafficPolicy: {mode: MODE}}
"""
SENDS = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as sender:
    sender.settimeout(10)
    sender.connect((sys.argv[1], 9000))
    sender.send(b"got-round")
    sender.recv(1)
"""
PYTHON_CALLS = "import urllib.request; print(urllib.request.urlopen('http://web/', timeout=10).read().decode())"


@dataclass
class Strict:
    """A client on the second host, whom it calls on the third, and what reaches that one."""

    switch: Switch
    directory: Path
    client: Proc
    command: str

    def start(self) -> None:
        """Start the client's agent: it takes over an application that runs."""
        self.client = self.switch.hosts[1].spawn("sh", "-c", self.command, WEFT_CAPTURE="strict", WORKLOAD="client")

    def run(self, *words: str) -> dict[str, Any]:
        """Run a program as a child of the application."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as file:
            connection.connect(str(self.directory / "runner"))
            connection.sendall(json.dumps(words).encode() + b"\n")
            found: dict[str, Any] = json.loads(file.read())
            return found

    def curl(self, url: str, *words: str) -> tuple[str, str]:
        """The status that curl gets (000: none), and the body."""
        done = self.run("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", *words, url)
        body, _, status = str(done["out"]).rpartition("\n")
        return status, body or str(done["err"])

    def asks(self) -> str:
        return self.curl("http://web/", "-H", "X-Words: never-in-clear")[0]

    def is_found(self) -> bool:
        """Whether a caller on the third host is answered."""
        return '"client"' in self.switch.hosts[2].curl("web", "http://client/")

    def wire(self) -> bytes:
        """What the third host's cable has carried."""
        return (self.directory / "wire").read_bytes()

    def policy(self, mode: str) -> None:
        """Say what becomes of unknown destinations, and wait until every proxy has heard it."""
        file = self.directory / f"{mode}.yaml"
        file.write_text(POLICY.replace("MODE", mode))
        self.switch.hosts[0].weft("apply", "-f", str(file), "--wait")


@pytest.fixture(scope="module", params=HERE)
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    directory = tmp_path_factory.mktemp("strict")
    (directory / "mesh.yaml").write_text(DOCUMENTS)
    with three_hosts(directory, lost_percent=0) as switch:
        one, _, three = switch.hosts
        control = one.spawn(*WEFT, "serve", "--bind", one.address)
        until("the control plane answers", lambda: "ready: " in control.output())
        one.weft("apply", "-f", str(directory / "mesh.yaml"))
        runner = shlex.join((sys.executable, str(APPS / "runner.py"), str(directory / "runner")))
        both = ("sh", "-c", f"rm -f {directory}/runner; {runner} & exec {shlex.join(ECHO)}")

        def command(app: str, *words: str) -> str:
            own = ("--service-account", app, "--name", app, "--labels", f"app={app}", "--port", "8080:auto")
            return one.weft("token", "create", *own, "--", *words).stdout

        three.spawn("sh", "-c", command("web", *ECHO), WORKLOAD="web")
        three.spawn(*ECHO, WORKLOAD="plain", WEFT_HOST=three.address, PORT="9000")
        wire = switch.middle.spawn(sys.executable, str(APPS / "wire.py"), "three", str(directory / "wire"))
        until("the wire is seen", lambda: "ready" in wire.output())
        made = Strict(switch, directory, wire, command("client", *both))
        made.start()
        for app in ("web", "client"):
            healthy(one, app)
        until("the client calls", lambda: made.asks() == "200")
        until("callers find it", made.is_found)
        yield made
        switch.middle.stop()


def test_calls_out_by_name_and_in_are_mutual_tls_and_no_variable_says_where(mesh: Strict) -> None:
    _, two, three = mesh.switch.hosts
    status, body = mesh.curl("http://web/", "-H", "X-Words: never-in-clear")
    assert (status, "ns/default/sa/client" in body) == ("200", True), body
    done = mesh.run(sys.executable, "-c", PYTHON_CALLS)
    assert "ns/default/sa/client" in done["out"], done
    assert not [name for name in done["environment"] if "proxy" in name.lower() and name != "WEFT_PROXY_AUTH"]
    told = three.curl("web", "http://client/?never-in-clear")
    assert ('"client"' in told, "ns/default/sa/web" in told) == (True, True), told
    assert not two.call("curl", "-fsS", f"http://127.0.0.1:{two.state('client').ports[0].application.port}/").returncode
    plain = f"http://{three.address}:9000/?in-clear-by-nature"
    assert mesh.curl(plain)[0] == "200"
    until("the passed request is on the wire", lambda: b"in-clear-by-nature" in mesh.wire())
    assert b"never-in-clear" not in mesh.wire()


def test_no_other_way_leads_out(mesh: Strict) -> None:
    one, two, three = mesh.switch.hosts
    plain = ("curl", "-sS", "-m", "3", f"http://{three.address}:9000/?got-round")
    state = two.state("client")
    assert state.agent is not None
    agent = str(state.agent.pid)
    mesh.policy("REGISTRY_ONLY")
    try:
        for words in (
            plain,
            ("nsenter", "--net", "--target", agent, *plain),
            ("unshare", "--user", "--map-root-user", "nsenter", "--net", "--target", agent, *plain),
            ("unshare", "--user", "--map-root-user", "--net", *plain),
            ("sh", "-c", "ip route replace default dev lo; nft flush ruleset; exec " + shlex.join(plain)),
            ("curl", "-sS", "-m", "3", "-x", f"http://127.0.0.1:{state.outbound}", "http://web/?got-round"),
            (sys.executable, "-c", SENDS, three.address),
        ):
            assert mesh.run(*words)["code"], words
        assert mesh.asks() == "200"
    finally:
        mesh.policy("ALLOW_ANY")
    assert b"got-round" not in mesh.wire()
    until("others reach it", lambda: not one.call(*plain).returncode)
    until("the wire is looked at", lambda: b"got-round" in mesh.wire())


def test_rules_for_a_workload_that_is_confined_are_refused(mesh: Strict) -> None:
    done = mesh.switch.hosts[1].weft("capture", "install", "--workload", "client", "--user", "nobody", check=False)
    assert (done.returncode, "captured without rules, by strict" in done.stderr) == (1, True), done


def test_whoever_is_killed_no_call_goes_around_and_the_next_agent_takes_over(mesh: Strict) -> None:
    _, two, _ = mesh.switch.hosts

    def kill(what: str) -> None:
        name = getattr(two.state("client"), what)
        assert name is not None
        os.kill(name.pid, signal.SIGKILL)

    application = two.state("client").application
    assert application is not None
    kill("envoy")
    assert mesh.asks() in ("000", "200", "503")
    until("the agent has another proxy", lambda: mesh.asks() == "200")
    kill("confinement")
    assert mesh.asks() in ("000", "200")
    until("the agent has another relay", lambda: mesh.asks() == "200")
    until("callers find it again", mesh.is_found)
    kill("agent")
    mesh.client.stop(signal.SIGKILL)
    assert mesh.asks() == "200", "names, too"
    kill("confinement")
    kill("envoy")
    until("nothing leads out", lambda: mesh.asks() == "000")
    mesh.start()
    until("the next agent has both", lambda: mesh.asks() == "200")
    until("callers find it", mesh.is_found)
    assert two.state("client").application == application
    assert b"never-in-clear" not in mesh.wire()


def test_a_stop_leaves_no_process_and_no_namespace(mesh: Strict) -> None:
    _, two, _ = mesh.switch.hosts
    state = two.state("client")
    assert state.application is not None
    space = Path(f"/proc/{state.application.pid}/ns/net").stat().st_ino

    def members() -> list[str]:
        found = []
        for each in Path("/proc").iterdir():
            try:
                if each.name.isdigit() and (each / "ns/net").stat().st_ino == space:
                    found.append(each.name)
            except OSError:
                continue
        return found

    assert len(members()) >= 3, "the application, what it runs, and the process that makes sockets"
    with Path(f"/proc/{state.application.pid}/ns/net").open():  # nobody else gets its number meanwhile
        two.stop_agents()
        assert not [name.pid for name in state.processes if alive(name.pid)]
        assert not members()
    assert two.state("client").processes == ()
    mesh.start()
    until("it is there again", lambda: mesh.asks() == "200")
    until("callers find it", mesh.is_found)
