"""Attacks from outside on a whole mesh: on its data plane, its control plane's ports, its tenants, its files."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http import tls_context
from support.mesh import Mesh, until
from weft.settings.home import Home

Address = tuple[str, int]


def say(address: Address, *lines: str, body: str = "", to_the_end: bool = False) -> tuple[int, str]:
    """Send a request byte by byte as given; the status and the answer (0: none), or everything that comes back."""
    with socket.create_connection(address, 30) as connection:
        connection.settimeout(30)
        connection.sendall("\r\n".join((*lines, "Connection: close", "", body)).encode("latin-1"))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while (to_the_end or not complete(answer)) and (piece := connection.recv(65536)):
                answer += piece
    text = answer.decode("latin-1")
    return (int(text[9:12]) if text.startswith("HTTP/1.1 ") else 0), text


def complete(answer: bytes) -> bool:
    """Whether it is a whole response of a told length."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


def gateway_of(mesh: Mesh) -> Address:
    where = mesh.workload("front")["gateway"]["ports"][0][1]
    return where["host"], where["port"]


def control_port(mesh: Mesh, name: str) -> Address:
    host, _, port = mesh.endpoints()[name].removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.mark.parametrize(
    "path",
    [
        "/closed", "/open/../closed", "/open/%2e%2e/closed", "/open/.%2e/closed", "/open%2f..%2fclosed",
        "/open/..%2fclosed", "/open%5c..%5cclosed", "/open\\..\\closed", "/open/..;/closed", "/open%00/../closed",
        "/OPEN/x", "/openx", "/open#/../closed", "*", "closed", "//shop.example/closed", "http://shop.example/closed",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_past_the_routes(target: Mesh, path: str) -> None:
    assert say(gateway_of(target), f"GET {path} HTTP/1.1", "Host: shop.example")[0] in {400, 404}


@pytest.mark.parametrize(
    "host", ["evil.example", "user@shop.example", "shop.example@evil", "shop.example,evil", "shop.example evil",
             "shop%2eexample", "", "shop.example\r\nHost: evil.example", "evil.example\r\nHost: shop.example"],
)  # fmt: skip
def test_no_spelling_of_a_host_is_taken_for_another(target: Mesh, host: str) -> None:
    assert say(gateway_of(target), "GET /open HTTP/1.1", f"Host: {host}")[0] in {400, 404}


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: +4",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("X_User: admin",),
        ("X-Nul: a\0b",),
    ],
)
def test_ambiguous_requests_are_refused(target: Mesh, lines: tuple[str, ...]) -> None:
    hidden = "0\r\n\r\nGET /closed HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    status, text = say(
        gateway_of(target), "POST /open HTTP/1.1", "Host: shop.example", *lines, body=hidden, to_the_end=True
    )
    assert status in {400, 501}
    assert text.count("HTTP/1.1 ") == 1


def test_the_gateway_opens_no_tunnel_and_upgrades_nothing(target: Mesh) -> None:
    gateway = gateway_of(target)
    for where in ("shop.example:80", f"127.0.0.1:{control_port(target, 'admin')[1]}"):
        assert say(gateway, f"CONNECT {where} HTTP/1.1", f"Host: {where}")[0] in {403, 404}
    upgrade = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings")
    assert say(gateway, "GET /open HTTP/1.1", "Host: shop.example", *upgrade)[0] != 101
    admin = target.endpoints()["admin"]
    assert say(gateway, f"GET {admin}/v1/health HTTP/1.1", "Host: localhost")[0] == 404


def test_nobody_says_who_he_is_in_a_header(target: Mesh) -> None:
    lies = ("x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/admin", "x-envoy-internal: true",
            "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-original-path: /closed")  # fmt: skip
    for address, target_line, sender in (
        (gateway_of(target), "/open", "front"),
        (target.proxy_of("client"), "http://shop/", "client"),
    ):
        host = "shop.example" if sender == "front" else "shop"
        status, text = say(address, f"GET {target_line} HTTP/1.1", f"Host: {host}", *lies)
        assert status == 200
        assert "sa/admin" not in text
        assert "x-envoy" not in text.lower()
        assert f"URI=spiffe://cluster.local/ns/default/sa/{sender}" in text


def test_certificates_of_one_workload_are_no_use_for_another(target: Mesh, tmp_path: Path) -> None:
    """Over the agent API, with a real certificate: every call about somebody else is refused and recorded."""
    certs = target.home / "workloads/default/client/certs"
    files = {path.name: str(path) for path in certs.rglob("*.pem")}
    context = tls_context(str(target.home / "control-plane/trust-bundle.pem"), files["chain.pem"], files["key.pem"])

    def call(method: str, path: str, body: object) -> int:
        data = json.dumps(body)
        with (
            socket.create_connection(control_port(target, "agent_api"), 30) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            head = f"{method} /v1/workloads{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            tls.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n{data}".encode())
            return int(tls.recv(100).split()[1])

    for method, path, body in (
        ("POST", "/default/shop/lease", {"state": "draining"}),
        ("POST", "/default/shop/certificate", {"csr": "x"}),
        ("POST", "/default/shop/drain?wait=0", {}),
        ("POST", "/default/client%2f..%2fshop/lease", {"state": "draining"}),
        ("DELETE", "/default/front", {}),
    ):
        assert call(method, path, body) == 403
    gateway = {"name": "client", "namespace": "default", "service_account": "client",
               "gateway": {"gateway": "front", "address": "127.0.0.1"}}  # fmt: skip
    assert call("POST", "", {"workload": gateway, "csr": "x"}) == 403
    assert {target.workload(name)["state"] for name in ("client", "shop", "front")} == {"healthy"}
    until("it is recorded", lambda: {"not-your-workload", "not-the-gateways-account"} <= refusals(target))
    assert not {"not-your-workload", "not-the-gateways-account"} & codes(target)


def codes(mesh: Mesh) -> set[str]:
    return {problem["code"] for problem in mesh.problems()}


def refusals(mesh: Mesh) -> set[str]:
    return {event["detail"].partition(":")[0] for event in mesh.items("events") if event["outcome"] == "refused"}


TENANT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: capture, namespace: hostile}
spec: {hosts: [shop.default.svc.cluster.local, "*.local"], http: [{directResponse: {status: 418}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gateway, namespace: hostile}
spec: {hosts: ["*"], gateways: [default/front], http: [{directResponse: {status: 418}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: capture, namespace: hostile}
spec:
  parentRefs: [{name: front, namespace: default}, {group: "", kind: Service, name: shop, namespace: default}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: evil.example}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: weaken, namespace: hostile}
spec: {host: shop.default.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: weaken, namespace: hostile}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: v1
kind: Service
metadata: {name: github, namespace: com}
spec: {ports: [{name: http, port: 80}]}
"""


def test_a_hostile_namespace_changes_nothing_for_others(target: Mesh) -> None:
    with target.applied(TENANT, check=False):
        client, gateway = target.proxy_of("client"), gateway_of(target)
        for host in ("shop", "shop.default", "shop.default.svc.cluster.local"):
            assert say(client, f"GET http://{host}/ HTTP/1.1", f"Host: {host}")[0] == 200
        assert say(gateway, "GET /open HTTP/1.1", "Host: shop.example")[0] == 200
        assert say(gateway, "GET / HTTP/1.1", "Host: new.example")[0] == 404
        assert say(target.inbound_of("shop"), "GET / HTTP/1.1", "Host: shop")[0] == 0
        routes = target.weft("proxy", "config", "client", "routes").stdout
        assert " github.com.svc (" in routes  # the shortest name
        assert "not-allowed" in codes(target)


@contextlib.contextmanager
def held(address: Address, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(address, 5))
        yield


def test_strangers_neither_fill_the_log_nor_keep_others_out(target: Mesh) -> None:
    log = target.processes["control-plane"].log
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = log.stat().st_size
    with held(control_port(target, "xds"), 300), held(control_port(target, "agent_api"), 300):
        for name in ("xds", "agent_api", "admin"):
            for garbage in (b"\x16\x03\x01\xff\xff" + b"x" * 300, b"GET / HTTP/9\r\n\0\r\n\r\n"):
                with socket.create_connection(control_port(target, name), 30) as connection:
                    connection.sendall(garbage)
            with (
                contextlib.suppress(OSError),
                socket.create_connection(control_port(target, name), 30) as connection,
                context.wrap_socket(connection) as tls,
            ):
                tls.recv(10)
        assert target.api("health") == {"status": "ok"}
        target.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: still-works}\n")
    target.weft("delete", "serviceaccount", "still-works")
    assert log.stat().st_size - before < 2000, log.read_text()[-2000:]


def test_nothing_secret_is_in_command_lines_logs_or_open_files(target: Mesh) -> None:
    token = (target.home / "control-plane" / "admin.token").read_text().strip()
    keys = {
        match
        for path in target.home.rglob("*.pem")
        for match in re.findall(r"PRIVATE KEY-----\n([^\n]+)\n([^\n]+)", path.read_text())
    }
    assert len(keys) >= 5
    secrets = [token, *(second for _, second in keys)]
    for path in (*target.logs.iterdir(), *target.home.rglob("*.log"), *target.home.rglob("*.json")):
        text = path.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], path
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
                assert token not in line
    loose = [path for path in target.home.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o077]
    assert [path.name for path in loose] == ["trust-bundle.pem"]


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_short_socket_directory_that_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    """Its name is known beforehand: who makes it first could offer a control plane of his own there."""
    with tempfile.TemporaryDirectory() as short:  # below pytest's it would be too long for a socket
        monkeypatch.setenv("TMPDIR", short)
        monkeypatch.setattr(tempfile, "tempdir", short)
        _walk_into(trap, Path(short), tmp_path)


def _walk_into(trap: str, temporary: Path, tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / ("long" * 30) / "home", tmp_path / "logs")
    place = Home(mesh.home).short_directory
    assert place.parent == temporary
    if trap == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    serve = mesh.spawn("control-plane", "serve", "--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
    run = mesh.spawn("web", "run", "--name", "web", "--", "true")
    for proc, code in ((serve, 1), (run, 1)):
        assert proc.process.wait(60) == code, proc.output()
        assert str(place) in proc.output()
        assert "Traceback" not in proc.output()
