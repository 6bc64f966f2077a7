"""A tenant tells a running control plane where keys are, and it does not ask what the tenant could not (class 6)."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support.mesh import Mesh, until
from support.tokens import Issuer

POLICY = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: NAME}
spec: {jwtRules: [{issuer: "https://NAME.example", jwksUri: "URI"}]}
---
"""
ALLOWED = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {jwksAllowedNetworks: [127.0.0.0/8]}
---
"""
ISSUER = Issuer()
Reply = Callable[[socketserver.StreamRequestHandler], None]


class Hostile(socketserver.ThreadingTCPServer):
    """A server that answers every request in one way, and counts."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, reply: Reply) -> None:
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.asked.append(self.rfile.readline())
                try:
                    reply(self)
                except OSError:
                    return

        self.asked: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/keys"


def keys(handler: socketserver.StreamRequestHandler) -> None:
    body = ISSUER.jwks.encode()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def flood(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(16_384):
        handler.wfile.write(b" " * 65_536)


def drip(handler: socketserver.StreamRequestHandler) -> None:
    stop = threading.Event()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        handler.wfile.write(b" ")
        stop.wait(0.1)


def bomb(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b")


@pytest.fixture
def servers() -> Iterator[Callable[[Reply], Hostile]]:
    running: list[Hostile] = []

    def start(reply: Reply) -> Hostile:
        running.append(Hostile(reply))
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_the_control_plane_asks_nothing_for_a_tenant(tmp_path: Path, servers: Callable[[Reply], Hostile]) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    good = servers(keys)
    target = good.url

    def redirect(handler: socketserver.StreamRequestHandler) -> None:
        handler.wfile.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    inside = servers(keys)
    attacks = {
        "redirect": (servers(redirect).url, "redirect"),
        "flood": (servers(flood).url, "larger than 256 KiB"),
        "drip": (servers(drip).url, "within 10 s"),
        "bomb": (servers(bomb).url, "compressed"),
        "metadata": ("https://169.254.169.254/latest/meta-data/", "never asked"),
        "mapped": ("https://[::ffff:169.254.169.254]/", "never asked"),
        "private": ("https://10.0.0.1/keys", "does not allow its network"),
        "unspecified": ("https://0.0.0.0/keys", "never asked"),
    }
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")

        def told(name: str) -> str:
            return " ".join(
                problem["message"] for problem in mesh.problems() if (problem["object"] or {}).get("name") == name
            )

        def is_told(name: str, reason: str) -> bool:
            return reason in told(name)

        def apply(name: str, uri: str, before: str = "") -> None:
            text = before + POLICY.replace("NAME", name).replace("URI", uri)
            mesh.weft("apply", "-f", "-", stdin=text, check=False)

        apply("inside", inside.url)
        until("loopback is refused", lambda: "loopback" in told("inside"))
        assert inside.asked == []
        for name, (uri, _) in attacks.items():
            apply(name, uri, ALLOWED)
        apply("good", good.url)
        for name, (_, reason) in attacks.items():
            until(f"{name} is refused", partial(is_told, name, reason))
        until("the good one is asked", lambda: len(good.asked) > 0)
        assert len(good.asked) == 1, "nobody was led there"
        assert told("good") == ""
        text = POLICY.replace("NAME", "file").replace("URI", "file:///etc/passwd")
        refused = mesh.weft("apply", "-f", "-", stdin=text, check=False)
        assert "its scheme is 'file'" in refused.stderr
    finally:
        mesh.stop()
