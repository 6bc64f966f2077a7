"""Capture with root: applications of another user call by name and by address, and know of no proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.captured import CLIENTS, EXAMPLE, SECRET, SUFFIX, UNKNOWN, CapturedHosts, joined
from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, until
from weft.settings.home import Home

pytestmark = pytest.mark.timeout(300)
ROOT = ["root"] if os.geteuid() == 0 and shutil.which("nft") else []
"""Rules by user need users, which only root has in a namespace of its own."""
IPTABLES = ["iptables"] if ROOT and shutil.which("iptables-restore") else []
GO = ["go"] if shutil.which("go") else []
RUNTIMES = [program for program in ("java", "node") if shutil.which(program)]

UID = "61001"
READS = "+dac_override,+dac_read_search"
CLIENT = (*WEFT, "run", "--name", "client", "--service-account", "client", "--capture", "on")
AS_APPLICATION = (
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups",
    f"--inh-caps={READS}", f"--ambient-caps={READS}", "--",
)  # fmt: skip
"""Another user, who may read the test's programs wherever they are."""


@dataclass
class Captured(CapturedHosts):
    """Whose client is another user, by rules."""

    before: str = ""

    def call(self, *words: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a program as the application's user, without a variable of weft's."""
        return self.one.call(
            *AS_APPLICATION, "env", "-i", "PATH=/usr/local/go/bin:/usr/bin:/bin", *words, timeout=timeout
        )

    def called(self, *words: str) -> tuple[str, str]:
        done = self.call(*words)
        return done.stdout, done.stderr

    def capture(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`weft capture` for the client."""
        return self.one.weft("capture", words[0], "--workload", "client", *words[1:], check=check)

    def rules(self) -> str:
        """Every rule of the client's host."""
        done = self.one.call("nft", "list", "ruleset")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stat(self, name: str) -> int:
        """A figure of the client's proxy."""
        socket = Home(self.one.home).socket(Home(self.one.home).workload("default", "client") / "admin.sock")
        done = self.one.call("curl", "-sS", "--unix-socket", str(socket), f"http://envoy/stats?filter={name}$")
        lines = done.stdout.split()
        assert lines, done
        return int(lines[1])

    def new_listeners(self) -> int:
        """How many listeners were made anew by a change, and not changed in place: their connections end."""
        return self.stat("listener_modified") - self.stat("listener_in_place_updated")


def _address6(host: Host, address: str, other: str) -> None:
    for words in (
        ("address", "add", f"{address}/64", "dev", "weft0", "nodad"),
        ("route", "add", "default", "via", other),
    ):
        assert host.call("ip", "-6", *words).returncode == 0


@contextlib.contextmanager
def made(directory: Path) -> Iterator[Captured]:
    """Both hosts, and rules for the client's applications."""
    directory.chmod(0o755)
    with two_hosts(directory) as (one, two):
        _address6(one, "fd77:77::1", "fd77:77::2")
        _address6(two, "fd77:77::2", "fd77:77::1")
        control = one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
        until("the control plane answers", lambda: "ready: " in control.output())
        one.weft("apply", "-f", str(EXAMPLE))
        client = one.spawn(*CLIENT)
        for app, program in (("web", "http_echo"), ("greeter", "tcp_name")):
            joined(one, two, app, sys.executable, str(APPS / f"{program}.py"))
            healthy(one, app)
        for port in ("8888", "8889"):
            two.spawn(sys.executable, str(APPS / "http_echo.py"), WEFT_HOST=two.address, PORT=port)
        outside = {"WEFT_HOST": two.address, "PORT": "8443", "WEFT_TEST_TLS": "1", "WORKLOAD": "tls"}
        two.spawn(sys.executable, str(APPS / "tcp_name.py"), **outside)
        until("the stranger answers", lambda: one.call("curl", "-sS", "-m", "5", UNKNOWN).returncode == 0)
        healthy(one, "client")
        found = Captured(one, two, control, client, directory)
        until("names are answered", lambda: "web" in one.weft("dns", "list", "--workload", "client").stdout)
        found.policy("ALLOW_ANY")
        found.before = found.rules()
        found.capture("install", "--user", UID)
        wire = two.spawn(sys.executable, str(APPS / "wire.py"), "weft0", str(directory / "wire"))
        until("the wire is seen", lambda: "ready" in wire.output())
        yield found


@pytest.fixture(scope="module", params=ROOT)
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    with made(tmp_path_factory.mktemp("capture")) as found:
        yield found


@pytest.fixture(scope="module", params=GO)
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("go") / "get"
    words = ("go", "build", "-trimpath", "-o", str(target), "main.go")
    subprocess.run(words, cwd=CLIENTS / "get", check=True, capture_output=True, env={**os.environ, "CGO_ENABLED": "0"})
    return str(target)


# -- what can be called ------------------------------------------------------------------------------------------------


def test_curl_calls_by_name_and_by_address_in_both_families(mesh: Captured) -> None:
    four, six = mesh.addresses("web")
    for url in (
        "http://web/", "http://web.default:9080/", f"http://web.{SUFFIX}/", f"http://{four}/", f"http://[{six}]/",
        "http://given/", "http://10.200.0.4/", "http://any:6000/", f"http://{four}:9080/",
    ):  # fmt: skip
        status, body = mesh.curl(url)
        assert (status, '"web"' in body) == ("200", True), (url, status, body)
        assert "ns/default/sa/client" in body, "the callee was shown the caller's certificate"


def test_requests_over_http2_are_routed_as_well(mesh: Captured) -> None:
    status, body = mesh.curl("http://web/", "--http2-prior-knowledge")
    assert (status, '"web"' in body) == ("200", True), body


@pytest.mark.parametrize("program", RUNTIMES)
def test_other_runtimes_call_by_name(mesh: Captured, program: str) -> None:
    file = {"java": "JavaHttpClient.java", "node": "node_fetch.mjs"}[program]
    done = mesh.call(program, str(CLIENTS / file), f"http://web.{SUFFIX}/", timeout=60)
    assert "ns/default/sa/client" in done.stdout, done


def test_a_static_program_calls_by_name(mesh: Captured, go: str) -> None:
    done = mesh.call(go, f"http://web.{SUFFIX}/")
    assert "ns/default/sa/client" in done.stdout, done


def test_a_server_that_speaks_first_is_heard(mesh: Captured) -> None:
    for host, port in (*[(each, 7000) for each in ("greeter", *mesh.addresses("greeter"))], ("whatever", 6001)):
        assert mesh.talk(host, port).split() == ["greeter", SECRET], (host, port)


def test_an_instance_is_called_by_its_own_address(mesh: Captured) -> None:
    for host in ("db", f"greeter.db.{SUFFIX}", mesh.two.address):
        assert mesh.talk(host, 5432).split() == ["greeter", SECRET]


# -- what is on the wire -----------------------------------------------------------------------------------------------


def test_nothing_for_a_workload_is_on_the_wire_in_clear_and_what_is_for_others_is_seen(mesh: Captured) -> None:
    four, six = mesh.addresses("web")
    for url in ("http://web/", f"http://{four}/", f"http://[{six}]/", "http://any:6000/"):
        assert mesh.curl(url, "-H", "X-Words: never-in-clear")[0] == "200"
    assert mesh.talk("greeter", 7000)
    assert mesh.talk("db", 5432)
    assert mesh.curl(f"{UNKNOWN}?mark=in-clear-by-nature")[0] == "200"
    until("the passed request is on the wire", lambda: b"in-clear-by-nature" in mesh.wire())
    seen = mesh.wire()
    assert b"never-in-clear" not in seen
    assert SECRET.encode() not in seen


# -- what cannot -------------------------------------------------------------------------------------------------------


def test_an_unknown_destination_passes_or_is_refused_as_the_policy_says(mesh: Captured) -> None:
    assert mesh.curl(UNKNOWN)[0] == "200"
    draining, made_new = mesh.stat("total_filter_chains_draining"), mesh.new_listeners()
    mesh.policy("REGISTRY_ONLY")
    try:
        assert mesh.curl(UNKNOWN)[0] == "000"
        assert mesh.stat("total_filter_chains_draining") <= draining + 1, "connections to services stay"
        assert mesh.new_listeners() == made_new
        assert mesh.curl("http://web/")[0] == "200"
        assert mesh.talk("greeter", 7000).split() == ["greeter", SECRET]
    finally:
        mesh.policy("ALLOW_ANY")
    assert mesh.curl(UNKNOWN)[0] == "200"


def test_a_host_outside_that_a_document_names_is_told_by_the_name_that_tls_asks_for(mesh: Captured) -> None:
    def ask(name: str) -> str:
        where = ("--resolve", f"{name}:8443:{mesh.two.address}", "-k", "--http0.9", "-m", "3")
        return mesh.call("curl", "-sS", *where, f"https://{name}:8443/").stdout

    mesh.policy("REGISTRY_ONLY")
    try:
        assert ask("a.example.com").startswith("tls\n")
        assert ask("a.example.org") == ""
    finally:
        mesh.policy("ALLOW_ANY")
    assert ask("a.example.org").startswith("tls\n")


def test_where_a_document_lets_callers_name_a_host_the_policy_says_which_others_pass(mesh: Captured) -> None:
    url = f"http://{mesh.two.address}:8889/"
    assert until("it answers", lambda: mesh.curl(url)[0] == "200")
    mesh.policy("REGISTRY_ONLY")
    try:
        assert mesh.curl(url)[0] == "502"
    finally:
        mesh.policy("ALLOW_ANY")


def test_a_host_of_nobody_asked_for_at_a_service_is_not_looked_for_outside(mesh: Captured) -> None:
    """Not even where every host may be called."""
    status, body = mesh.curl("http://web/", "-H", "Host: 10.77.0.2:8888")
    assert (status, "no service has this host" in body) == ("502", True), body
    proxy = f"http://127.0.0.1:{mesh.one.state('client').outbound}"
    assert mesh.curl(UNKNOWN, "-x", proxy)[0] == "200", "through the proxy it may be called"


def test_who_dials_the_capture_port_itself_is_refused_and_nothing_goes_round(mesh: Captured) -> None:
    port = mesh.one.state("client").capture
    before = mesh.stat("tcp.upstream.downstream_cx_total")
    for host in ("127.0.0.1", "[::1]"):
        for words in ((), ("-H", "Host: web")):
            assert mesh.curl(f"http://{host}:{port}/", *words)[0] == "000"
    assert mesh.stat("tcp.upstream.downstream_cx_total") == before + 4
    assert mesh.curl("http://web/")[0] == "200"


def test_the_own_user_of_the_proxy_a_wrong_name_and_no_root_are_refused(mesh: Captured) -> None:
    done = mesh.capture("install", "--user", "root", check=False)
    assert done.returncode == 1
    assert "runs as user 0 itself" in done.stderr
    done = mesh.capture("install", "--user", "nobodi", check=False)
    assert (done.returncode, "do you mean nobody?" in done.stderr) == (2, True), done
    done = mesh.capture("install", "--user", UID, "--exclude-interface", "weft1", check=False)
    assert "do you mean weft0?" in done.stderr
    done = mesh.one.call(*AS_APPLICATION, *WEFT, "capture", "show", "--workload", "client")
    assert "only root may" in done.stderr


# -- changes -----------------------------------------------------------------------------------------------------------


def test_a_port_an_address_and_the_host_s_own_users_are_left_alone(mesh: Captured) -> None:
    mesh.policy("REGISTRY_ONLY")
    try:
        assert mesh.one.call("curl", "-sS", "-m", "5", UNKNOWN).returncode == 0, "root is not captured"
        for words in (
            ("--exclude-port", "8888"),
            ("--exclude-address", "10.77.0.0/24"),
            ("--exclude-interface", "weft0"),
        ):
            mesh.capture("install", "--user", UID, *words)
            assert mesh.curl(UNKNOWN)[0] == "200", words
        mesh.capture("install", "--user", UID)
        assert mesh.curl(UNKNOWN)[0] == "000"
    finally:
        mesh.capture("install", "--user", UID)
        mesh.policy("ALLOW_ANY")


def test_rules_are_replaced_under_new_connections_and_none_of_these_fails(mesh: Captured) -> None:
    texts = [
        mesh.capture("install", "--user", UID, *words, "--dry-run").stdout for words in ((), ("--exclude-port", "22"))
    ]
    files = [mesh.directory / f"rules-{number}" for number in range(2)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    url = (mesh.addresses("web")[0], "80", "600")
    calls = mesh.one.spawn(*AS_APPLICATION, sys.executable, str(APPS / "many_connections.py"), *url)
    replaced = 0
    while calls.process.poll() is None or replaced < 50:
        done = mesh.one.call("nft", "-f", str(files[replaced % 2]))
        assert done.returncode == 0, done.stderr
        replaced += 1
    assert calls.output().strip() == "0"
    assert mesh.rules().count("table inet weft.default.client") == 1
    mesh.capture("install", "--user", UID)


def test_services_come_and_go_and_no_captured_connection_of_others_is_ended(mesh: Captured) -> None:
    more = mesh.directory / "more.yaml"
    ports = "[{name: http, port: 80}, {name: tcp, port: 7001}, {name: any, port: 6000}]"
    more.write_text(
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: more}}\nspec: {{selector: {{app: more}}, ports: {ports}}}\n"
    )
    draining = mesh.stat("total_filter_chains_draining")
    updated, made_new = mesh.stat("listener_in_place_updated"), mesh.new_listeners()
    mesh.one.weft("apply", "-f", str(more), "--wait")
    until("the listener has it", lambda: mesh.stat("listener_in_place_updated") > updated)
    assert mesh.stat("total_filter_chains_draining") <= draining
    assert mesh.new_listeners() == made_new
    mesh.one.weft("delete", "-f", str(more), "--wait")


def test_what_is_taken_away_leaves_no_trace(mesh: Captured) -> None:
    try:
        mesh.capture("install", "--user", UID)
        once = mesh.rules()
        mesh.capture("install", "--user", UID)
        assert mesh.rules() == once != mesh.before
        assert f"skuid {UID}" in mesh.capture("show").stdout
        assert json.loads(mesh.capture("show", "-o", "json").stdout)["inForce"]
        mesh.capture("uninstall")
        assert mesh.rules() == mesh.before
        assert mesh.capture("show", check=False).returncode == 1
        assert "there was no table" in mesh.capture("uninstall").stdout
    finally:
        mesh.capture("install", "--user", UID)


@pytest.mark.parametrize("program", IPTABLES)
def test_where_only_iptables_is_the_same_is_captured(mesh: Captured, program: str) -> None:
    assert "in force by nft already" in mesh.capture("install", "--with", program, "--user", UID, check=False).stderr
    mesh.capture("uninstall")
    mesh.policy("REGISTRY_ONLY")
    try:
        mesh.capture("install", "--with", program, "--user", UID)
        four, six = mesh.addresses("web")
        for url in ("http://web/", f"http://{four}/", f"http://[{six}]/"):
            assert mesh.curl(url, "-H", "X-Words: never-in-clear")[0] == "200", url
        assert mesh.talk("greeter", 7000).split() == ["greeter", SECRET]
        assert mesh.talk("db", 5432).split() == ["greeter", SECRET]
        assert mesh.curl(UNKNOWN)[0] == "000"
        assert mesh.one.call("curl", "-sS", "-m", "5", UNKNOWN).returncode == 0, "root is not captured"
        assert mesh.curl(f"http://127.0.0.1:{mesh.one.state('client').capture}/")[0] == "000"
        told = json.loads(mesh.capture("show", "-o", "json").stdout)
        assert (told["firewalls"], told["counted"]["outbound"]["packets"] > 3) == ([program], True), told
        mesh.capture("install", "--with", program, "--user", UID, "--exclude-port", "8888")
        assert mesh.curl(UNKNOWN)[0] == "200"
        mesh.capture("uninstall")
        assert "WEFT" not in mesh.one.call("sh", "-c", "iptables-save; ip6tables-save").stdout
        for table in ("ip nat", "ip6 nat"):  # that iptables has made, and leaves empty
            mesh.one.call("nft", "delete", "table", *table.split())
    finally:
        mesh.capture("uninstall")
        mesh.capture("install", "--user", UID)
        mesh.policy("ALLOW_ANY")


def test_a_port_turns_to_connections_and_back_and_no_call_fails(mesh: Captured) -> None:
    def turn(name: str) -> None:
        file = mesh.directory / "turns.yaml"
        ports = f"[{{name: {name}, port: 5000, targetPort: 8080}}]"
        file.write_text(
            "apiVersion: v1\nkind: Service\nmetadata: {name: turns}\n"
            f"spec: {{selector: {{app: web}}, clusterIP: 10.200.0.9, ports: {ports}}}\n"
        )
        mesh.one.weft("apply", "-f", str(file), "--wait")

    turn("http")
    until("it is called", lambda: mesh.curl("http://10.200.0.9:5000/")[0] == "200")
    words = (*AS_APPLICATION, sys.executable, str(APPS / "many_connections.py"), "10.200.0.9", "5000")
    for name in ("tcp", "http"):
        calls = mesh.one.spawn(*words, "300")
        turn(name)
        calls.process.wait(60)
        assert calls.output().strip() == "0", name


# -- what dies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("_", ROOT)
def test_whoever_is_killed_no_call_goes_around_the_mesh(tmp_path: Path, _: str) -> None:
    with made(tmp_path) as mesh:
        four = mesh.addresses("web")[0]

        def asks() -> str:
            return mesh.curl(f"http://{four}/", "-H", "X-Words: never-in-clear")[0]

        def kill(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)

        assert asks() == "200"
        envoy = mesh.one.state("client").envoy
        assert envoy is not None
        kill(envoy.pid)
        assert asks() in ("000", "200", "503")
        until("the agent has another proxy", lambda: asks() == "200")
        mesh.control.stop(signal.SIGKILL)
        assert asks() == "200"
        mesh.client.stop(signal.SIGKILL)
        assert asks() == "200"
        assert mesh.curl("http://web/")[0] == "200", "names, too"
        envoy = mesh.one.state("client").envoy
        assert envoy is not None
        kill(envoy.pid)
        until("nobody listens", lambda: asks() == "000")
        assert mesh.talk("greeter", 7000).count(SECRET) == 0
        assert mesh.one.call("curl", "-sS", "-m", "5", f"{UNKNOWN}?mark=in-clear-by-nature").returncode == 0
        until("the passed request is on the wire", lambda: b"in-clear-by-nature" in mesh.wire())
        assert b"never-in-clear" not in mesh.wire()
        assert SECRET.encode() not in mesh.wire()
        port = mesh.one.state("client").capture
        mesh.one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
        mesh.one.spawn(*CLIENT)
        until("the next agent has the same port", lambda: asks() == "200")
        assert mesh.one.state("client").capture == port
