"""ProxyConfigs in a real mesh: worker threads from the next start on, and HTTP/1.0 at once."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.envoy import free_port
from support.http import Client
from support.mesh import Mesh, until
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

HTTP10 = 'environmentVariables: {ISTIO_META_HTTP10: "1"}'
FRONT = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: everybody}
spec:
  parentRefs: [{name: front}]
  hostnames: [open.example, shut.example]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shut}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  action: DENY
  rules: [{to: [{operation: {hosts: [shut.example]}}]}]
"""
DNS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: names}
spec: {gatewayClassName: weft, listeners: [{name: udp, port: 5300, protocol: UDP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: names}
spec: {parentRefs: [{name: names}], rules: [{backendRefs: [{name: names, port: 53}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: names}
spec: {selector: {app: names}, ports: [{name: dns, port: 53, protocol: UDP}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: names}
spec: {address: 127.0.0.1, labels: {app: names}, ports: {dns: %d}}
"""
NGINX = """
daemon off; master_process off; pid %(home)s/nginx.pid; error_log %(home)s/nginx.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path %(home)s/t1; proxy_temp_path %(home)s/t2; fastcgi_temp_path %(home)s/t3;
  uwsgi_temp_path %(home)s/t4; scgi_temp_path %(home)s/t5;
  server {
    listen 127.0.0.1:%(port)d;
    location / { proxy_pass http://%(gateway)s; proxy_http_version 1.0; proxy_set_header Host $host; }
  }
}
"""


def config(name: str, app: str, rest: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {{name: {name}}}
spec: {{selector: {{matchLabels: {{{app}}}}}, {rest}}}
"""


def threads(mesh: Mesh, name: str) -> int:
    """The worker threads of a workload's Envoy."""
    directory = mesh.home / "workloads" / "default" / name
    admin = EnvoyAdmin(Home(mesh.home).socket(directory / "admin.sock"))
    found = json.loads(asyncio.run(admin.body("/server_info")))
    workers: int = found["command_line_options"]["concurrency"]
    return workers


def told(mesh: Mesh) -> list[str]:
    """What is said of proxies that run with another number of threads."""
    found = mesh.items("problems?at_once=1")
    return [problem["message"] for problem in found if problem["code"] == "starts-later"]


def test_a_proxy_has_its_worker_threads_from_its_next_start_on(world: Mesh, client: Client) -> None:
    two, three = (config("busy", "app: busy", f"concurrency: {number}") for number in (2, 3))
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: busy}\n"
    service += "spec: {selector: {app: busy}, ports: [{name: http, port: 80, targetPort: 8080}]}\n"
    with world.applied(f"{two}---\n{service}"):
        proc = world.echo("busy")
        assert (threads(world, "busy"), world.workload("busy")["workers"]) == (2, 2)
        assert client("http://busy/").status == 200
        assert not told(world)

        world.apply(three)
        until("it is told", lambda: told(world))
        assert "workload default/busy runs with another number of worker threads" in told(world)[0]
        assert "until started again" in world.weft("describe", "proxyconfig", "busy").stdout
        assert threads(world, "busy") == 2

        before = world.state("busy")["envoy"]["pid"]
        proc.process.kill()  # the agent alone: the next one takes over an Envoy that runs on, as it is
        proc.process.wait()
        world.echo("busy")
        until("the next agent is there", lambda: world.state("busy")["agent"]["pid"] == world.processes["busy"].pid)
        assert world.state("busy")["envoy"]["pid"] == before
        assert (threads(world, "busy"), world.workload("busy")["workers"]) == (2, 2)

        world.processes["busy"].stop()
        proc = world.echo("busy")
        assert (threads(world, "busy"), world.workload("busy")["workers"]) == (3, 3)
        until("nothing is left to tell", lambda: not told(world))
        proc.stop()


def test_several_threads_take_datagrams(world: Mesh) -> None:
    """Envoy wants a socket for each: the listener of UDP is another one there from its first moment on."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        text = f"{DNS % server.getsockname()[1]}---\n{config('names', 'istio: names', 'concurrency: 2')}"
        with world.applied(text):
            proc = world.gateway("names", "5300=auto")
            assert threads(world, "names") == 2
            [(_, where)] = world.workload("names")["gateway"]["ports"]
            assert until("it is answered", lambda: _asked((where["host"], where["port"]))) == b"who"
            answers = [_asked((where["host"], where["port"]), 5) for _ in range(50)]
            assert answers == [b"who"] * 50
            assert not [nack for nack in world.problems() if nack["code"] == "nack"]
            proc.stop()


def _answer(server: socket.socket) -> None:
    while True:
        try:
            data, client = server.recvfrom(2048)
            server.sendto(data, client)
        except OSError:
            return


def _asked(where: tuple[str, int], wait: float = 0.3) -> bytes:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(wait)
        client.sendto(b"who", where)
        try:
            return client.recv(64)
        except OSError:
            return b""


def said(address: tuple[str, int], *lines: str) -> bytes:
    """What comes back to these lines until the connection is closed."""
    with closing(socket.create_connection(address, 10)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        found = b""
        while data := connection.recv(65536):
            found += data
        return found


def test_an_application_and_clients_of_a_gateway_speak_http_1_0(world: Mesh, front: tuple[Client, str]) -> None:
    host, _, port = front[1].removeprefix("http://").partition(":")
    gateway, proxy = (host, int(port)), world.proxy_of("client")
    with world.applied(FRONT):
        assert b" 426 " in said(gateway, "GET / HTTP/1.0", "Host: open.example").partition(b"\r\n")[0]
        everybody = config("all", "app: client", HTTP10).replace("selector: {matchLabels: {app: client}}, ", "")
        with world.applied(everybody):
            answer = said(gateway, "GET /x HTTP/1.0", "Host: open.example")
            assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
            assert b'"path": "/x"' in answer
            assert b" 403 " in said(gateway, "GET / HTTP/1.0", "Host: shut.example").partition(b"\r\n")[0]
            assert b" 400 " in said(gateway, "GET / HTTP/1.0").partition(b"\r\n")[0]
            assert b" 404 " in said(gateway, "GET / HTTP/1.0", "Host:").partition(b"\r\n")[0]
            assert said(proxy, "GET http://echo/x HTTP/1.0").startswith(b"HTTP/1.0 200 OK\r\n")
            assert front[0](f"{front[1]}/", headers={"Host": "open.example"}).status == 200
        assert b" 426 " in said(gateway, "GET / HTTP/1.0", "Host: open.example").partition(b"\r\n")[0]


@pytest.fixture
def nginx(front: tuple[Client, str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """An nginx before the gateway, which it asks over HTTP/1.0, as older ones do unless they are told otherwise."""
    binary = shutil.which("nginx")
    assert binary is not None
    port = free_port()
    words = {"home": tmp_path, "port": port, "gateway": front[1].removeprefix("http://")}
    (tmp_path / "nginx.conf").write_text(NGINX % words)
    process = subprocess.Popen([binary, "-p", str(tmp_path), "-c", "nginx.conf"], cwd=tmp_path)
    try:
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(10)


def test_an_nginx_before_the_gateway(world: Mesh, nginx: tuple[str, int]) -> None:
    def answer(host: str = "open.example") -> bytes:
        try:
            return said(nginx, "POST / HTTP/1.1", f"Host: {host}", "Connection: close", "Content-Length: 0")
        except OSError:
            return b""

    with world.applied(FRONT):
        until("nginx passes it on", lambda: b" 426 " in answer())
        with world.applied(config("front", "istio: front", HTTP10)):
            assert answer().startswith(b"HTTP/1.1 200 ")
            assert answer("shut.example").startswith(b"HTTP/1.1 403 ")
