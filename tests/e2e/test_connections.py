"""Rules for connections: TCP by weight and caller, TLS by server name, through sidecars and at a gateway."""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.mesh import APPS, Mesh, until

SERVICES, _, RULES = (
    (Path(__file__).parents[2] / "examples" / "connections.yaml").read_text().partition("# The rules.\n")
)


def virtual(host: str, rules: str) -> str:
    """A VirtualService with these rules."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec: {{hosts: [{host}, "*.example.com"], {rules}}}
"""


def shares(first: int, second: int) -> str:
    """The connections of db divided over its subsets."""
    return virtual(
        "db",
        f"tcp: [{{route: [{{destination: {{host: db, subset: v1}}, weight: {first}}}, "
        f"{{destination: {{host: db, subset: v2}}, weight: {second}}}]}}]",
    )


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two versions of two servers that speak first, one over TLS; a caller, another caller, and a gateway."""
    root = tmp_path_factory.mktemp("connections")
    mesh = Mesh(root / "home", root / "logs")
    server = [sys.executable, str(APPS / "tcp_name.py")]
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        for version in ("v1", "v2"):
            for app, port, tls in (("db", 5432, ""), ("web", 8443, "1")):
                env = {"WEFT_TEST_TLS": tls}
                mesh.run(
                    f"{app}-{version}",
                    server,
                    app=app,
                    version=version,
                    port=f"{port}:auto",
                    health="tcp",
                    env=env,
                    wait=False,
                )
        for name in ("caller", "other"):
            upstreams = ["--upstream", "db:5432", "--upstream", "web:8443", "--upstream", "db:7000"]
            mesh.echo(name, more=upstreams, wait=False)
        mesh.gateway("edge", "5432=auto", "8443=auto")
        mesh.wait_healthy("db-v1", "db-v2", "web-v1", "web-v2", "caller", "other")
        yield mesh
    finally:
        mesh.stop()


def upstream(mesh: Mesh, port: int, name: str = "caller") -> tuple[str, int]:
    """The loopback port of a workload that leads to a service's port."""
    [found] = [each["listen"] for each in mesh.workload(name)["upstreams"] if each["port"] == port]
    return found["host"], found["port"]


def listener(mesh: Mesh, port: int) -> tuple[str, int]:
    """Where the gateway serves a port."""
    [found] = [address for number, address in mesh.workload("edge")["gateway"]["ports"] if number == port]
    return found["host"], found["port"]


def tunnelled(mesh: Mesh, target: str, name: str = "caller") -> socket.socket:
    """A connection by CONNECT through a sidecar's proxy."""
    opened = socket.create_connection(mesh.proxy_of(name), timeout=10)
    opened.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = opened.recv(1)
        if not data:
            break
        head += data
    if b" 200 " not in head.split(b"\r\n")[0]:
        opened.close()
        raise ConnectionError(head.decode())
    return opened


def greeting(opened: socket.socket) -> str:
    """What the server says first; empty if the connection is closed instead."""
    with closing(opened):
        opened.settimeout(10)
        said = b""
        try:
            while not said.endswith(b"\n"):
                data = opened.recv(64)
                if not data:
                    return ""
                said += data
        except OSError:
            return ""
        return said.decode().strip()


def ask(address: tuple[str, int]) -> str:
    """Who answers at an address."""
    return greeting(socket.create_connection(address, timeout=10))


def ask_tls(opened: socket.socket, name: str) -> str:
    """Who answers to a client that asks for a server name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secured = context.wrap_socket(opened, server_hostname=name, do_handshake_on_connect=False)
    try:
        secured.do_handshake()
    except OSError:
        secured.close()
        return ""
    return greeting(secured)


def metrics(mesh: Mesh, name: str) -> str:
    """What the agent of a proxy tells Prometheus."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{mesh.workload(name)['metrics']['port']}/metrics", timeout=10
    ) as answer:
        return str(answer.read().decode())


def counted(mesh: Mesh, times: int = 60) -> Counter[str]:
    """Who answers to a caller's connections, half of them by CONNECT."""
    found: Counter[str] = Counter()
    for _ in range(times // 2):
        found[ask(upstream(mesh, 5432))] += 1
        found[greeting(tunnelled(mesh, "db:5432"))] += 1
    return found


def test_connections_are_divided_by_weight(mesh: Mesh) -> None:
    with mesh.applied(shares(0, 100)):
        until("all go to v2", lambda: set(counted(mesh, 10)) == {"db-v2"})
        mesh.apply(shares(50, 50), "--wait")
        found = counted(mesh)
        assert min(found["db-v1"], found["db-v2"]) > 10, found
        assert sum(found.values()) == found["db-v1"] + found["db-v2"]
    until("both are called again", lambda: set(counted(mesh, 20)) == {"db-v1", "db-v2"})


def test_rules_may_be_for_some_callers(mesh: Mesh) -> None:
    rule = "tcp: [{match: [{sourceLabels: {app: other}, port: 5432}], route: [{destination: {host: db, subset: v1}}]}]"
    with mesh.applied(virtual("db", rule)):
        until("the other caller gets v1", lambda: {ask(upstream(mesh, 5432, "other")) for _ in range(12)} == {"db-v1"})
        assert {greeting(tunnelled(mesh, "db:5432", "other")) for _ in range(12)} == {"db-v1"}
        assert set(counted(mesh, 24)) == {"db-v1", "db-v2"}


def test_the_share_of_a_backend_that_is_not_there_is_closed(mesh: Mesh) -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: half}
spec:
  parentRefs: [{group: "", kind: Service, name: db, port: 5432}]
  rules: [{backendRefs: [{name: db, port: 5432, weight: 1}, {name: gone, port: 1, weight: 1}]}]
"""
    mesh.apply(route, "--wait", "--allow-missing-references")
    try:
        found: Counter[str] = Counter()
        for _ in range(60):
            found[ask(upstream(mesh, 5432))] += 1
        assert 10 < found[""] < 50, found
        refused = 0
        for _ in range(40):
            try:
                assert greeting(tunnelled(mesh, "db:5432")).startswith("db-")
            except ConnectionError:
                refused += 1
        assert 5 < refused < 35
        assert [one["reason"] for one in _conditions(mesh, "half") if one["status"] == "False"] == ["BackendNotFound"]
        until("the journal has what was closed", lambda: _closed(mesh, "caller"))
    finally:
        mesh.delete(route)


def _closed(mesh: Mesh, name: str) -> list[Any]:
    """What the journal has of connections that a rule of a workload's proxy closed."""
    rows = mesh.items(f"requests?workload=default/{name}")
    return [one for one in rows if not one["method"] and one["flags"] == "UH" and one["cluster"] == "nowhere"]


def _conditions(mesh: Mesh, name: str) -> list[dict[str, str]]:
    """The conditions of a TCPRoute's parents."""
    [found] = mesh.items(f"documents?kind=tcproutes&name={name}")
    return [one for parent in found["parents"] for one in parent["conditions"]]


def test_tls_is_carried_by_server_name(mesh: Mesh) -> None:
    rules = (
        "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: web, subset: v1}}]}, "
        "{match: [{sniHosts: ['*.example.com']}], route: [{destination: {host: web, subset: v2}}]}]"
    )
    with mesh.applied(virtual("web", rules)):
        where = upstream(mesh, 8443)
        for _ in range(3):
            for name, server in (("a.example.com", "web-v1"), ("b.example.com", "web-v2"), ("other.example.org", "")):
                assert ask_tls(socket.create_connection(where, timeout=10), name) == server
                assert ask_tls(tunnelled(mesh, "web:8443"), name) == server
    assert ask_tls(tunnelled(mesh, "web:8443"), "other.example.org").startswith("web-")


DENIED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-database}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  action: DENY
  rules: [{to: [{operation: {ports: ["5432"]}}]}]
"""


def test_a_gateway_passes_connections_on(mesh: Mesh) -> None:
    assert ask(listener(mesh, 5432)) == ""
    with mesh.applied(RULES):
        assert {ask(listener(mesh, 5432)) for _ in range(20)} == {"db-v1", "db-v2"}
        explained = json.loads(mesh.weft("explain", "--from", "caller", "tcp://db:5432", "-o", "json").stdout)
        assert [each["share"] for each in explained["hops"][0]["split"]] == [0.9, 0.1]
        address, port = listener(mesh, 5432)
        assert "rule      " in mesh.weft("explain", "--from", "edge", f"tcp://{address}:{port}").stdout
        closed = mesh.weft("explain", "--from", "edge", "tls://other.example.com:8443", check=False)
        assert (closed.returncode, closed.stdout.partition(":")[0]) == (1, "refused")
        assert Counter(ask(upstream(mesh, 5432)) for _ in range(40))["db-v1"] > 25
        assert ask_tls(tunnelled(mesh, "web:8443"), "beta.example.com") == "web-v2"
        where = listener(mesh, 8443)
        assert ask_tls(socket.create_connection(where, timeout=10), "web.example.com").startswith("web-")
        assert ask_tls(socket.create_connection(where, timeout=10), "other.example.com") == ""
        with mesh.applied(DENIED):
            opened = socket.create_connection(listener(mesh, 5432), timeout=10)
            opened.sendall(b"anybody there?")
            assert greeting(opened) == ""
            assert ask_tls(socket.create_connection(where, timeout=10), "web.example.com").startswith("web-")
    for name, service in (("edge", "db"), ("edge", "web"), ("caller", "web")):
        counted = f'istio_tcp_connections_opened_total{{[^}}]*destination_service_name="{service}"'
        until(f"{name} has counted connections to {service}", lambda: re.search(counted, metrics(mesh, name)), 30)  # noqa: B023


def test_a_port_that_says_nothing_lets_the_server_speak_first(mesh: Mesh) -> None:
    assert ask(upstream(mesh, 7000)).startswith("db-")
    rule = "tcp: [{match: [{port: 7000}], route: [{destination: {host: db, subset: v2}}]}]"
    with mesh.applied(virtual("db", rule)):
        assert {ask(upstream(mesh, 7000)) for _ in range(8)} == {"db-v2"}


def test_a_change_of_rules_fails_no_connection(mesh: Mesh) -> None:
    stop, made = threading.Event(), 0
    failed: list[str] = []

    def call() -> None:
        nonlocal made
        while not stop.is_set():
            for straight in (True, False):
                try:
                    answer = ask(upstream(mesh, 5432)) if straight else greeting(tunnelled(mesh, "db:5432"))
                except OSError as error:
                    answer = repr(error)
                made += 1
                if not answer.startswith("db-"):
                    failed.append(answer)

    where = upstream(mesh, 8443)
    caller = threading.Thread(target=call)
    caller.start()
    try:
        for weights in ((100, 0), (0, 100), (50, 50)):
            mesh.apply(shares(*weights), "--wait")
        mesh.delete(shares(1, 1))
        rules = "tls: [{match: [{sniHosts: ['*.example.com']}], route: [{destination: {host: web, subset: v1}}]}]"
        for _ in range(2):
            with mesh.applied(virtual("web", rules)):
                assert ask_tls(tunnelled(mesh, "web:8443"), "a.example.com") == "web-v1"
            assert ask_tls(socket.create_connection(where, timeout=10), "a.example.com").startswith("web-")
    finally:
        stop.set()
        caller.join()
    assert failed == []
    assert made > 20
