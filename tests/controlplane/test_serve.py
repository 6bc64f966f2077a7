"""The control plane as a process: start, kill, restart, stop, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from weft.controlplane.ports import Ports
from weft.controlplane.settings import ServeError
from weft.settings.home import Home
from weft.testing.polling import until

_LONG = 60.0
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec:\n  ports:\n  - port: 80\n"
PROGRAM = """
import sys
from pathlib import Path
from weft.controlplane.serve import serve
from weft.controlplane.settings import ServeError, ServeSettings
from weft.settings.home import Home

try:
    ports = {name: int(text) for name, text in (pair.split("=") for pair in sys.argv[2].split(",") if pair)}
    serve(ServeSettings(Home(Path(sys.argv[1])), follow=tuple(map(Path, sys.argv[3:])), lease=4.0, **ports))
except ServeError as error:
    sys.exit(f"refused: {error}")
"""
ANY = "xds_port=0,agent_api_port=0,admin_port=0"
WORKLOAD = {
    "name": "a-1",
    "namespace": "default",
    "service_account": "a",
    "labels": [["app", "a"]],
    "ports": [],
    "state": "healthy",
}


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("local", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Served:
    """One control plane process."""

    def __init__(self, home: Home, ports: str, *follow: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home.root), ports, *map(str, follow)],
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        """The endpoints, once this process has written them."""

        def endpoints() -> Any:
            assert self.process.poll() is None, self.process.communicate()[1]
            found = json.loads(self.home.endpoints.read_text())
            return found if found["pid"] == self.process.pid else None

        result: dict[str, Any] = until("it has written its endpoints", endpoints, _LONG)
        return result

    def api(self, method: str, path: str, body: str = "") -> Any:
        """One call of the admin API."""
        where = urlsplit(json.loads(self.home.endpoints.read_text())["admin"])
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        token = self.home.admin_token.read_text().strip()
        connection.request(method, f"/v1/{path}", body, {"Authorization": f"Bearer {token}"})
        with contextlib.closing(connection):
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def agent(self, method: str, path: str, body: object) -> tuple[int, Any]:
        """One call of the agent API on the socket."""
        with contextlib.closing(Unix(self.home.agent_socket)) as connection:
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal and wait: exit code, stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


Serve = Callable[..., Served]


@pytest.fixture
def serve(home: Home) -> Iterator[Serve]:
    started: list[Served] = []

    def start(*follow: Path, ports: str = "") -> Served:
        started.append(Served(home, ports, *follow))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


def csr() -> str:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def test_sigkill_and_restart_keep_everything(home: Home, serve: Serve) -> None:
    first = serve(ports=ANY)
    endpoints = first.ready()
    status, applied = first.api("POST", "documents?wait=5", SERVICE.replace("NAME", "a"))
    assert status == 200, applied
    status, registered = first.agent("POST", "/v1/workloads", {"workload": WORKLOAD, "csr": csr()})
    assert status == 200, registered
    first.stop(signal.SIGKILL)
    assert home.endpoints.exists(), "nobody was left to remove it"
    second = serve()
    again = second.ready()
    assert {**again, "pid": 0} == {**endpoints, "pid": 0}
    _, documents = second.api("GET", "documents")
    assert [one["key"]["name"] for one in documents["documents"]] == ["a"]
    _, workloads = second.api("GET", "workloads")
    assert [(one["name"], one["state"]) for one in workloads["workloads"]] == [("a-1", "healthy")]
    status, renewed = second.agent("POST", "/v1/workloads/default/a-1/certificate", {"csr": csr()})
    assert status == 200
    assert renewed["bundle"] == registered["issued"]["bundle"] == home.trust_bundle.read_text()
    until("leases have ended", lambda: second.api("GET", "workloads")[1]["workloads"] == [])
    assert second.stop()[0] == 0


def test_an_ordered_stop_is_quick_and_leaves_nothing_behind(home: Home, serve: Serve) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        served = serve(ports=ANY)
        endpoints = served.ready()
        for path in (home.admin_token, home.endpoints, home.database, home.agent_socket):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        served.agent("POST", "/v1/workloads", {"workload": WORKLOAD, "csr": csr()})
        waiting = http.client.HTTPConnection(urlsplit(endpoints["admin"]).netloc, timeout=10)
        waiting.request("GET", "/v1/health")
        assert waiting.getresponse().read() == b'{"status":"ok"}'
        unfinished = http.client.HTTPConnection(urlsplit(endpoints["admin"]).netloc, timeout=10)
        unfinished.putrequest("POST", "/v1/documents")
        unfinished.putheader("Authorization", f"Bearer {home.admin_token.read_text().strip()}")
        unfinished.putheader("Content-Length", "10")
        unfinished.endheaders(b"kind")
        code, errors = served.stop(number)
        waiting.close()
        unfinished.close()
        assert (code, "Traceback" in errors) == (0, False), errors
        assert not home.endpoints.exists()
        assert not home.agent_socket.exists()
        assert [path.name for path in home.control_plane.iterdir() if ".new-" in path.name] == []


def test_a_second_one_in_the_same_home_is_refused(serve: Serve) -> None:
    first = serve(ports=ANY)
    first.ready()
    second = serve(ports=ANY)
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode == 1
    assert f"refused: a control plane (pid {first.process.pid}) is already running" in errors
    assert first.api("GET", "health") == (200, {"status": "ok"})


def test_taken_ports(home: Home, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = serve(ports=f"{ANY},xds_port={port}")
        assert f"port {port} on 127.0.0.1 is in use" in refused.process.communicate(timeout=60)[1]
        home.control_plane.joinpath("ports.json").write_text(json.dumps({"xds": port}))
        served = serve(ports="agent_api_port=0,admin_port=0")
        assert served.ready()["xds"] != f"127.0.0.1:{port}", "nobody was told that port yet"
        served.agent("POST", "/v1/workloads", {"workload": WORKLOAD, "csr": csr()})
        served.stop(signal.SIGKILL)
        home.control_plane.joinpath("ports.json").write_text(json.dumps({"xds": port}))
        awaited = serve(ports="agent_api_port=0,admin_port=0")
        errors = awaited.process.communicate(timeout=60)[1]
        assert f"port {port} on 127.0.0.1, where this mesh's proxies expect xds, is taken" in errors


def remembering(directory: Path, ports: dict[str, int]) -> Home:
    """A home whose control plane had these ports when it last ran."""
    home = Home(directory)
    home.control_plane.mkdir(exist_ok=True)
    home.ports.write_text(json.dumps(ports))
    return home


async def test_off_loopback_a_taken_usual_port_is_an_error(tmp_path: Path) -> None:
    """Other hosts and their firewalls know the usual ports, so that no other is taken in silence."""
    wildcard = "0.0.0.0"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for remembered in ({}, {"xds": port + 1}):
            ports = Ports(remembering(tmp_path, remembered), awaited=False)
            with pytest.raises(ServeError, match=rf"port {port} on 0\.0\.0\.0.*ss -ltnp.*--xds-port"):
                await ports.bind("xds", wildcard, None, port, "--xds-port")


def test_a_home_open_to_others_is_refused(home: Home, serve: Serve) -> None:
    served = serve(ports=ANY)
    served.ready()
    served.stop()
    home.database.chmod(0o644)
    refused = serve(ports=ANY)
    assert "chmod 600" in refused.process.communicate(timeout=60)[1]


def test_followed_files_and_applied_documents_together(tmp_path: Path, serve: Serve) -> None:
    files = tmp_path / "mesh"
    files.mkdir()
    (files / "a.yaml").write_text(SERVICE.replace("NAME", "a"))
    served = serve(files, ports=ANY)
    served.ready()
    assert [one["name"] for one in served.api("GET", "services")[1]["services"]] == ["a"]
    assert served.api("POST", "documents?wait=5", SERVICE.replace("NAME", "b"))[0] == 200
    assert [one["name"] for one in served.api("GET", "services")[1]["services"]] == ["a", "b"]
    (files / "a.yaml").write_text("kind: [")
    until(
        "it is told",
        lambda: [one for one in served.api("GET", "problems")[1]["problems"] if one["code"] == "syntax"],
    )
    assert [one["name"] for one in served.api("GET", "services")[1]["services"]] == ["a", "b"]
    assert served.api("GET", "health") == (200, {"status": "ok"})
    assert served.api("POST", "documents?wait=5", SERVICE.replace("NAME", "c"))[0] == 200  # what came before is built
    assert f"{files}/a.yaml:" in served.stop()[1], "who saved the file reads it in the log"


def test_a_store_that_is_gone_is_told_and_everything_known_is_served(home: Home, serve: Serve) -> None:
    served = serve(ports=ANY)
    served.ready()
    assert served.api("POST", "documents?wait=5", SERVICE.replace("NAME", "a"))[0] == 200
    hidden = home.database.with_suffix(".away")
    home.database.rename(hidden)
    status, body = served.api("POST", "documents?wait=5", SERVICE.replace("NAME", "b"))
    assert (status, body["code"]) == (503, "store-unavailable")
    until("it is degraded", lambda: served.api("GET", "health") == (200, {"status": "degraded"}), _LONG)
    assert [one["name"] for one in served.api("GET", "services")[1]["services"]] == ["a"]
    hidden.rename(home.database)
    until("it is well", lambda: served.api("GET", "health") == (200, {"status": "ok"}), _LONG)
    assert served.api("POST", "documents?wait=5", SERVICE.replace("NAME", "b"))[0] == 200
    assert served.stop()[0] == 0


async def test_a_port_that_is_looked_up_is_another_one_where_the_known_one_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        ports = Ports(remembering(tmp_path, {"metrics": port}), awaited=True)
        with await ports.bind("metrics", "127.0.0.2", None, port, "--metrics-port", looked_up=True) as bound:
            assert bound.getsockname()[1] != port
