"""The door to a cluster's control plane: to whom it shows the user's certificate, and for whom."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import TestAuthority
from support.tls_server import TlsServer, tls_server_in_thread
from weft.local import door as doors
from weft.local.cluster import Cluster
from weft.local.door import Door
from weft.local.relay import Relay
from weft.model.door import NAME, PODS, PORT, ROOTS

HOST = "weft.test"


def kubeconfig(directory: Path, users: TestAuthority) -> Path:
    """That of a user who has a client certificate."""
    leaf = users.issue(dns=("alice",))
    pair = {"client-certificate-data": leaf.chain, "client-key-data": leaf.key}
    told = {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "alice", "user": {name: base64.b64encode(one).decode() for name, one in pair.items()}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "alice"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(told))
    path.chmod(0o600)
    return path


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """To a server that asks for a certificate and needs none. The API server's part is left out."""
    mesh, users = TestAuthority(), TestAuthority()
    with tls_server_in_thread(mesh.issue(dns=(HOST,)), users.bundle) as server:
        server.context.verify_mode = ssl.CERT_OPTIONAL
        _lead_to(server, mesh, monkeypatch)
        yield Door(Cluster((kubeconfig(tmp_path, users),)))


def _lead_to(server: TlsServer, mesh: TestAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    class Direct:
        failure = ""

        def __init__(self, *_: Any) -> None:
            self.near = socket.create_connection(("127.0.0.1", server.port), 30)

    async def place(*_: Any) -> Any:
        data = {PODS: "a=b", ROOTS: mesh.bundle.decode(), NAME: HOST, PORT: "1"}
        ready = doors._Status((doors._Condition("Ready", "True"),))
        return doors._ConfigMap(data), doors._Pods((doors._Pod(doors._Metadata("weft-0"), ready),))

    monkeypatch.setattr(doors, "Tunnel", Direct)
    monkeypatch.setattr(doors, "_read_place", place)


def who(connection: http.client.HTTPConnection) -> str:
    """Whose certificate the server was shown."""
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["client"])


def test_commands_show_the_certificate_of_the_user(door: Door) -> None:
    assert who(door.connection(30.0)) == "alice"


def test_a_port_of_this_host_lends_it_to_nobody(door: Door) -> None:
    """Everybody on this host reaches that port: the browser has its session, others have nothing."""
    relay = Relay(door)
    running = threading.Thread(target=relay.run, daemon=True)
    running.start()
    try:
        host, _, port = relay.address.rpartition(":")
        assert who(http.client.HTTPConnection(host, int(port), timeout=30)) == ""
    finally:
        relay.close()
