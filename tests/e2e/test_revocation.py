"""The end of trust in a running mesh: what is open is closed, what is new is refused, and the others go on."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.http import Client, tls_context
from support.mesh import APPS, Mesh, until

DRAIN_SECONDS = 45
"""What ``--drain-time-s`` of the proxies is: no connection of before lives longer."""
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: thief}
spec: {selector: {app: thief}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 9000, targetPort: 9000}]}
"""
HTTP = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("revocation")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(DOCUMENTS)
        for name, app in (("client", "client"), ("shop", "shop"), ("thief-1", "thief"), ("thief-2", "thief")):
            mesh.echo(name, app=app, wait=False)
        mesh.run("db", [sys.executable, str(APPS / "tcp_echo.py")], port="9000:auto", health="tcp", wait=False)
        mesh.wait_healthy("client", "shop", "thief-1", "thief-2", "db")
        yield mesh
    finally:
        mesh.stop()


class Stolen:
    """The key and certificate of a workload, used by somebody past its proxy."""

    def __init__(self, mesh: Mesh, name: str, directory: Path) -> None:
        held = mesh.home / "workloads/default" / name / "certs/..data"
        (directory / name).mkdir(exist_ok=True)
        for file in ("chain.pem", "key.pem"):
            (directory / name / file).write_text((held / file).read_text())
        self._files = (str(directory / name / "chain.pem"), str(directory / name / "key.pem"))
        self._bundle = str(mesh.home / "control-plane/trust-bundle.pem")

    def connect(self, address: tuple[str, int], alpn: str) -> ssl.SSLSocket:
        """A connection that has proven to be the workload."""
        context = tls_context(self._bundle, *self._files)
        context.set_alpn_protocols([alpn])
        with contextlib.ExitStack() as opened:
            raw = opened.enter_context(socket.create_connection(address, 10))
            tls = context.wrap_socket(raw)
            opened.pop_all()
            return tls

    def status(self, address: tuple[str, int]) -> int:
        """What one request on a new connection is answered with; 0: the connection was refused."""
        with contextlib.suppress(OSError), self.connect(address, "http/1.1") as tls:
            return status_of(tls)
        return 0


def status_of(tls: ssl.SSLSocket) -> int:
    """The status of a request on an open connection; 0 if it is not answered."""
    tls.sendall(HTTP)
    words = tls.recv(65536).split()
    return int(words[1]) if len(words) > 1 else 0


def is_closed(tls: ssl.SSLSocket) -> bool:
    """Whether the other side has ended the connection."""
    tls.settimeout(0.2)
    try:
        return tls.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def called(mesh: Mesh, caller: str, service: str) -> int:
    """The status of a call through the caller's proxy."""
    return Client(mesh.proxy_of(caller))(f"http://{service}/").status


def calls(mesh: Mesh, name: str) -> bool:
    return called(mesh, name, "shop") == 200


def states(mesh: Mesh) -> dict[str, str]:
    return {one["workload"]: one["state"] for one in mesh.items("identities")}


def test_a_revoked_workload_is_out_at_once_and_its_twin_is_not(mesh: Mesh, tmp_path: Path) -> None:
    shop, database = mesh.inbound_of("shop"), mesh.inbound_of("db")
    stolen, twin = Stolen(mesh, "thief-1", tmp_path), Stolen(mesh, "thief-2", tmp_path)
    thief_proxy = mesh.proxy_of("thief-1")
    assert stolen.status(shop) == twin.status(shop) == called(mesh, "thief-1", "shop") == 200
    with stolen.connect(shop, "http/1.1") as held, stolen.connect(database, "weft-tcp") as session:
        assert status_of(held) == 200
        session.sendall(b"before")
        assert session.recv(100) == b"before"

        said = mesh.weft("identity", "revoke", "default/thief-1", "--reason", "stolen", "--wait").stdout
        assert "workload default/thief-1 is revoked" in said
        assert status_of(held) in (0, 403), "a request on a connection of before"
        assert stolen.status(shop) in (0, 403)
        until("new connections are refused in the hand-shake", lambda: stolen.status(shop) == 0)
        assert twin.status(shop) == called(mesh, "client", "shop") == 200
        assert called(mesh, "client", "thief") == 200, "the twin serves"
        refused = Client(thief_proxy)("http://shop/").status
        assert refused in (403, 503)
        until("its stream has ended", lambda: "thief-1.default" not in {one["name"] for one in mesh.items("proxies")})
        until("the control plane says why", lambda: any("is revoked" in one["message"] for one in mesh.problems()))
        until("the agent says why", lambda: "is revoked since" in mesh.processes["thief-1"].output())
        assert states(mesh)["thief-1"] == "revoked"
        until("its session has ended", lambda: is_closed(session), DRAIN_SECONDS + 30.0)
        assert twin.status(shop) == called(mesh, "client", "shop") == 200

    mesh.processes["control-plane"].stop(signal.SIGKILL)
    mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
    until("the proxies are back", lambda: len(mesh.items("proxies")) == 4)
    assert states(mesh)["thief-1"] == "revoked"
    assert stolen.status(shop) == 0
    assert called(mesh, "client", "shop") == 200

    mesh.weft("identity", "restore", "default/thief-1", "--wait")
    mesh.wait_healthy("thief-1")
    until("it calls again, with a new certificate", lambda: called(mesh, "thief-1", "shop") == 200)
    assert stolen.status(shop) == 0, "the certificate of before stays refused"
    assert states(mesh)["thief-1"] == "active"


def test_a_revoked_service_account_neither_calls_nor_is_called(mesh: Mesh, tmp_path: Path) -> None:
    shop, twin = mesh.inbound_of("shop"), Stolen(mesh, "thief-2", tmp_path)
    proxy = mesh.proxy_of("thief-2")
    assert called(mesh, "client", "thief") == 200
    mesh.weft("identity", "revoke", "--service-account", "default/thief", "--wait")
    assert twin.status(shop) in (0, 403)
    assert called(mesh, "client", "thief") == 503
    assert Client(proxy)("http://shop/").status in (403, 503)
    assert called(mesh, "client", "shop") == 200
    mesh.weft("identity", "restore", "--service-account", "default/thief", "--wait")
    mesh.wait_healthy("thief-1", "thief-2")
    until("it serves again", lambda: called(mesh, "client", "thief") == 200)
    for name in ("thief-1", "thief-2"):
        until("it calls again", partial(calls, mesh, name))


def test_a_removed_workload_does_not_come_back_by_itself(mesh: Mesh, tmp_path: Path) -> None:
    shop, stolen = mesh.inbound_of("shop"), Stolen(mesh, "thief-2", tmp_path)
    assert stolen.status(shop) == 200
    assert "thief-2 is removed" in mesh.weft("delete", "workload", "thief-2", "--wait").stdout
    assert stolen.status(shop) in (0, 403)
    until("new connections are refused in the hand-shake", lambda: stolen.status(shop) == 0)
    until("its agent says why", lambda: "was removed" in mesh.processes["thief-2"].output())
    assert "thief-2" not in {one["name"] for one in mesh.items("workloads")}
    assert states(mesh)["thief-2"] == "removed"
    assert called(mesh, "client", "shop") == 200
    mesh.processes["thief-2"].stop()
    mesh.echo("thief-2", app="thief")
    until("started anew it calls", lambda: called(mesh, "thief-2", "shop") == 200)
    assert stolen.status(shop) == 0
