"""Capture without root: whatever the application runs calls by name and by address, and knows of no proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.test_protocols import postgres_binary
from support.captured import CLIENTS, EXAMPLE, SECRET, SUFFIX, UNKNOWN, CapturedHosts, joined
from support.demo import Demo
from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, Proc, alive, until
from weft.agent.seccomp.addresses import Destination, proxy_header
from weft.agent.seccomp.mode import why_not_seccomp
from weft.settings.home import Home

pytestmark = pytest.mark.timeout(300)
HERE = [] if why_not_seccomp() else ["seccomp"]
"""Some systems let no process look into another."""
MORE = """
apiVersion: v1
kind: Service
metadata: {name: talks}
spec: {selector: {app: talks}, ports: [{name: grpc, port: 50051, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: postgres}
spec: {selector: {app: postgres}, ports: [{name: tcp, port: 5432, targetPort: 8080}]}
"""


@dataclass
class Captured(CapturedHosts):
    """Whose client captures what it starts."""

    def start(self) -> Proc:
        """Start the client's agent: it takes over an application that runs."""
        options = ("--name", "client", "--service-account", "client", "--capture", "seccomp")
        return self.one.spawn(*WEFT, "run", *options, "--", sys.executable, str(APPS / "runner.py"), str(self.socket))

    @property
    def socket(self) -> Path:
        return self.directory / "runner"

    def run(self, *words: str) -> dict[str, Any]:
        """Run a program as a child of the application."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as file:
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(words).encode() + b"\n")
            found: dict[str, Any] = json.loads(file.read())
            return found

    def called(self, *words: str) -> tuple[str, str]:
        done = self.run(*words)
        return str(done["out"]), str(done["err"])


@contextlib.contextmanager
def _postgres(one: Host, two: Host) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="weft-pg-") as place:
        data = Path(place) / "data"
        user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        if user:
            shutil.chown(place, "postgres")
        made = (*user, postgres_binary("initdb"), "-N", "-D", str(data), "-A", "trust", "-U", "postgres")
        subprocess.run(made, check=True, capture_output=True, cwd="/")
        server = f"exec {postgres_binary('postgres')} -D {data} -p $PORT -k '' -h 127.0.0.1"
        joined(one, two, "postgres", *user, "sh", "-c", server)
        yield


@pytest.fixture(scope="module", params=HERE)
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    directory = tmp_path_factory.mktemp("seccomp")
    with two_hosts(directory) as (one, two):
        control = one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
        until("the control plane answers", lambda: "ready: " in control.output())
        (directory / "more.yaml").write_text(MORE)
        one.weft("apply", "-f", str(EXAMPLE), "-f", str(directory / "more.yaml"))
        found = Captured(one, two, control, control, directory)
        found.client = found.start()
        with _postgres(one, two):
            for app, program in (("web", "http_echo"), ("greeter", "tcp_name"), ("talks", "grpc_echo")):
                joined(one, two, app, sys.executable, str(APPS / f"{program}.py"))
            two.spawn(sys.executable, str(APPS / "http_echo.py"), WEFT_HOST=two.address, PORT="8888")
            for app in ("client", "web", "greeter", "talks", "postgres"):
                healthy(one, app)
            until("the stranger answers", lambda: found.curl(UNKNOWN)[0] == "200")
            until("names are answered", lambda: "web" in one.weft("dns", "list", "--workload", "client").stdout)
            wire = two.spawn(sys.executable, str(APPS / "wire.py"), "weft0", str(directory / "wire"))
            until("the wire is seen", lambda: "ready" in wire.output())
            yield found
            one.stop()
            two.stop()


# -- who can call ------------------------------------------------------------------------------------------------------


def test_curl_calls_by_name_and_by_address_in_both_families_and_no_variable_says_where(mesh: Captured) -> None:
    four, six = mesh.addresses("web")
    for url in ("http://web/", "http://web.default:9080/", f"http://{four}/", f"http://[{six}]/", "http://given/"):
        status, body = mesh.curl(url)
        assert (status, '"web"' in body) == ("200", True), (url, status, body)
        assert "ns/default/sa/client" in body, "the callee was shown the caller's certificate"
    environment = mesh.run("true")["environment"]
    assert not [name for name in environment if "proxy" in name.lower() and name != "WEFT_PROXY_AUTH"]


def test_python_clients(mesh: Captured) -> None:
    names = ("aiohttp_default", "urllib3_default", "http_client", "requests_client", "httpx_client", "urllib_request")
    words = [f"{name}=http://web/" for name in names]
    done = mesh.run(sys.executable, str(CLIENTS / "python_clients.py"), *words, "websockets=ws://web/ws")
    told = json.loads(done["out"])
    for name in names:
        assert "ns/default/sa/client" in told[name], name
    assert told["websockets"] == "web:hello"


@pytest.mark.parametrize("program", [each for each in ("java", "node", "go", "wget") if shutil.which(each)])
def test_other_clients(mesh: Captured, program: str) -> None:
    words = {
        "java": ("java", str(CLIENTS / "JavaHttpClient.java")),
        "node": ("node", str(CLIENTS / "node_fetch.mjs")),
        "go": (str(mesh.directory / "get"),),
        "wget": ("wget", "-qO-"),
    }[program]
    if program == "go":
        build = ("go", "build", "-trimpath", "-o", words[0], "main.go")
        static = {**os.environ, "CGO_ENABLED": "0"}
        subprocess.run(build, cwd=CLIENTS / "get", check=True, capture_output=True, env=static)
    done = mesh.run(*words, f"http://web.{SUFFIX}/")
    assert "ns/default/sa/client" in done["out"], done


def test_grpc_over_names_that_c_ares_looks_up(mesh: Captured) -> None:
    done = mesh.run(sys.executable, str(APPS / "grpc_client.py"), "talks:50051")
    assert json.loads(done["out"])["unary"] == "talks:hello", done


def test_psql(mesh: Captured) -> None:
    query = "select sum(n) from generate_series(1, 100000) n"
    done = mesh.run(postgres_binary("psql"), "-h", "postgres", "-U", "postgres", "-Atc", query)
    assert done["out"].strip() == "5000050000", done


@pytest.mark.parametrize("how", ["lookup", "resolve"] if shutil.which("node") else [])
def test_names_over_udp(mesh: Captured, how: str) -> None:
    done = mesh.run("node", str(CLIENTS / "lookup" / "lookup.mjs"), how, f"web.{SUFFIX}")
    assert mesh.addresses("web")[0] in done["out"], done


def test_a_server_that_speaks_first_and_an_instance_by_its_own_address(mesh: Captured) -> None:
    four, six = mesh.addresses("greeter")
    for host, port in (("greeter", 7000), (four, 7000), (six, 7000), ("db", 5432), (mesh.two.address, 5432)):
        assert mesh.talk(host, port).split() == ["greeter", SECRET], (host, port)


HALF_CLOSES = """
import socket
with socket.create_connection(("greeter", 7000), 10) as c:
    c.sendall(b"x" * 300_000)
    c.shutdown(socket.SHUT_WR)
    size = 0
    while data := c.recv(65536):
        size += len(data)
    print(size)
"""


def test_connections_end_as_they_would_without_a_proxy(mesh: Captured) -> None:
    done = mesh.run(sys.executable, "-c", HALF_CLOSES)
    assert done["out"].strip() == str(len("greeter\n") + 300_000), done
    done = mesh.run("curl", "-sS", "-m", "20", "-H", "Connection: close", "http://web/download/10000000")
    assert len(done["out"]) == 10_000_000, done["err"]


# -- what is on the wire, and who is refused ---------------------------------------------------------------------------


def test_nothing_for_a_workload_is_on_the_wire_in_clear_and_what_is_for_others_is_seen(mesh: Captured) -> None:
    four, six = mesh.addresses("web")
    for url in ("http://web/", f"http://{four}/", f"http://[{six}]/", "http://any:6000/"):
        assert mesh.curl(url, "-H", "X-Words: never-in-clear")[0] == "200"
    assert mesh.talk("greeter", 7000)
    assert mesh.talk("db", 5432)
    assert mesh.curl(f"{UNKNOWN}?mark=in-clear-by-nature")[0] == "200"
    until("the passed request is on the wire", lambda: b"in-clear-by-nature" in mesh.wire())
    assert b"never-in-clear" not in mesh.wire()
    assert SECRET.encode() not in mesh.wire()


def test_an_unknown_destination_passes_or_is_refused_as_the_policy_says(mesh: Captured) -> None:
    mesh.policy("REGISTRY_ONLY")
    try:
        assert mesh.curl(UNKNOWN)[0] == "000"
        assert mesh.curl("http://web/")[0] == "200"
    finally:
        mesh.policy("ALLOW_ANY")
    assert mesh.curl(UNKNOWN)[0] == "200"


DIALS = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as c:
    try:
        c.sendall(bytes.fromhex(sys.argv[2]) + b"GET / HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n")
        print(c.recv(12).decode())
    except ConnectionError:
        pass
"""


def test_who_dials_the_port_itself_or_does_not_know_the_secret_is_refused(mesh: Captured) -> None:
    state = mesh.one.state("client")
    address = mesh.addresses("web")[0]
    where = Destination(socket.AF_INET, socket.inet_aton(address), 80)
    secret = (Home(mesh.one.home).workload("default", "client") / "capture.secret").read_bytes()

    def dial(header: bytes) -> str:
        return mesh.one.call(sys.executable, "-c", DIALS, str(state.capture), header.hex()).stdout.strip()

    assert dial(proxy_header(where, 1, secret)) == "HTTP/1.1 200", "only the secret is what others lack"
    assert dial(b"") == ""
    assert dial(proxy_header(where, 1, b"")) == ""
    assert dial(proxy_header(where, 1, secret[:-1])) == ""
    assert mesh.curl(f"http://127.0.0.1:{state.capture}/")[0] == "000"
    assert mesh.curl("http://web/")[0] == "200"


def test_rules_for_a_workload_that_has_a_holder_are_refused(mesh: Captured) -> None:
    done = mesh.one.weft("capture", "install", "--workload", "client", "--user", "nobody", check=False)
    assert (done.returncode, "captured without rules, by seccomp" in done.stderr) == (1, True), done


def test_check_says_what_works_here(mesh: Captured) -> None:
    done = mesh.one.weft("check", "--all", check=False)
    assert "capture on this host works without root (seccomp)" in done.stdout


@pytest.mark.parametrize("_", HERE)
def test_the_demo_runs_without_a_variable_that_says_where(tmp_path: Path, _: str) -> None:
    demo = Demo(tmp_path, "--capture")
    try:
        facts = demo.facts()
        with urllib.request.urlopen(f"{facts['gateway']}/productpage", timeout=20) as answer:
            assert "reviews-v" in answer.read().decode()
        for workload in facts["workloads"]:
            environment = Path(f"/proc/{workload['app_pid']}/environ").read_text()
            assert "HTTP_PROXY" not in environment.upper()
    finally:
        assert demo.interrupt() == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != demo.errors]


# -- what dies ---------------------------------------------------------------------------------------------------------


def test_whoever_is_killed_no_call_goes_around_the_mesh(mesh: Captured) -> None:
    address = mesh.addresses("web")[0]

    def asks() -> str:
        return mesh.curl(f"http://{address}/", "-H", "X-Words: never-in-clear")[0]

    def kill_envoy() -> None:
        envoy = mesh.one.state("client").envoy
        assert envoy is not None
        os.kill(envoy.pid, signal.SIGKILL)

    assert asks() == "200"
    application = mesh.one.state("client").application
    kill_envoy()
    assert asks() in ("000", "200", "503")
    until("the agent has another proxy", lambda: asks() == "200")
    mesh.control.stop(signal.SIGKILL)
    assert asks() == "200"
    mesh.client.stop(signal.SIGKILL)
    assert asks() == "200"
    assert mesh.curl("http://web/")[0] == "200", "names, too"
    kill_envoy()
    until("nobody listens", lambda: asks() == "000")
    assert mesh.talk("greeter", 7000).count(SECRET) == 0
    mesh.control = mesh.one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
    mesh.client = mesh.start()
    until("the next agent has another proxy", lambda: asks() == "200")
    assert mesh.one.state("client").application == application
    assert application is not None
    assert alive(application.pid)
    assert b"never-in-clear" not in mesh.wire()
    assert SECRET.encode() not in mesh.wire()
    until("the control plane has it again", lambda: "client" in mesh.one.weft("get", "workloads").stdout)
