"""Mesh-wide settings change in proxies that run."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.http import Client
from support.mesh import Mesh
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

SETTINGS = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {%s}
"""


class _Outside(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def outside() -> Iterator[str]:
    """The URL of a server that no document names."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


async def listeners(mesh: Mesh) -> dict[str, int]:
    """How often the client's proxy has added, changed or removed a listener. Those of other tests may still drain."""
    directory = mesh.home / "workloads" / "default" / "client"
    admin = EnvoyAdmin(Home(mesh.home).socket(directory / "admin.sock"))
    found = await admin.gauges("listener_manager.listener_(added|modified|removed)")
    assert found is not None
    return found


def test_the_outbound_policy_changes_on_open_connections(world: Mesh, client: Client, outside: str) -> None:
    assert client(outside).status == 200
    before = asyncio.run(listeners(world))
    assert len(before) == 3
    with world.applied(SETTINGS % "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"):
        assert client(outside).status == 502
        assert client("http://echo/").status == 200
    assert client(outside).status == 200
    assert asyncio.run(listeners(world)) == before


def test_default_retries_change(world: Mesh, client: Client) -> None:
    def answer() -> int:
        return client(f"http://other/fail/{uuid.uuid4()}/2").status

    assert answer() == 503
    with world.applied(SETTINGS % "defaultHttpRetryPolicy: {attempts: 2, retryOn: '503'}"):
        assert answer() == 200
        shown = world.weft("get", "meshconfig", "-n", "istio-system").stdout
        assert shown.splitlines()[0].split() == ["NAME", "OUTBOUND", "FIELDS", "SOURCE"]
        assert "defaultHttpRetryPolicy" in shown
    assert answer() == 503


def test_the_config_map_of_istio_is_read_and_another_trust_domain_told(world: Mesh, client: Client) -> None:
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultHttpRetryPolicy: {attempts: 2, retryOn: "503"}
    trustDomain: other.example
"""
    done = world.weft("apply", "-f", "-", "--wait", stdin=text, check=False)
    try:
        assert "trust domain 'cluster.local'" in done.stderr
        assert "<stdin>:8" in done.stderr
        assert client(f"http://other/fail/{uuid.uuid4()}/2").status == 200
        assert "istio" in world.weft("get", "configmaps", "-A").stdout
    finally:
        world.delete(text)
    assert not [problem for problem in world.problems() if problem["code"] == "trust-domain-mismatch"]
