"""Servers that are not of the mesh."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REGISTRY_ONLY = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""


class _Outside(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(
            {
                "host": self.headers["Host"],
                "port": self.connection.getsockname()[1],
                "left": self.headers.get("x-left", ""),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def through(proxy: tuple[str, int], host: str, port: int) -> socket.socket:
    """A connection by CONNECT; ConnectionError where the proxy refuses it."""
    sock = socket.create_connection(proxy, timeout=15)
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(4096)
        if not piece:
            break
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        sock.close()
        raise ConnectionError(answer[:60])
    return sock


@contextmanager
def outside_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that is not of the mesh."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as running:
        if context is not None:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()
