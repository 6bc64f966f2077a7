"""The table of docs/clients.md: in the environment that `weft run` gives, each client passes or not as it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.mesh import APPS, Mesh
from weft.agent.sidecar_environment import sidecar_environment
from weft.agent.state import read_state

TESTS = Path(__file__).parent.parent
CLIENTS = TESTS / "clients"
PAGE = TESTS.parent / "docs" / "clients.md"
NOBODY = "http://127.0.0.9:9/"
"""Nobody listens there, and NO_PROXY does not name it: the sidecar answers who heeds HTTP_PROXY, others are refused."""


@cache
def node_heeds_proxies() -> bool:
    """Whether this Node knows NODE_USE_ENV_PROXY."""
    text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = (int(part) for part in text.strip().lstrip("v").split(".")[:2])
    return (major, minor) >= (24, 5) or (major == 22 and minor >= 21)


@dataclass(frozen=True)
class Case:
    """A client: its row in the page, its command without the URL, and what it calls."""

    row: str
    command: tuple[str, ...]
    url: str = "http://hello/"
    answer: str = '"workload": "hello"'


GRPC = (sys.executable, str(APPS / "grpc_client.py"))
HEED = (
    Case("gRPC Python", GRPC, "greeter:50051", "greeter:hello"),
    Case("curl", ("curl", "-sS")),
    Case("wget", ("wget", "-qO-")),
)
NODE = (
    Case("Node `fetch`", ("node", str(CLIENTS / "node_fetch.mjs"))),
    Case("Node `http`", ("node", str(CLIENTS / "node_http.mjs"))),
)
PYTHON_HEEDS = {
    "requests": "requests_client",
    "httpx": "httpx_client",
    "urllib.request": "urllib_request",
    "aiohttp, `trust_env=True`": "aiohttp_trust_env",
    "urllib3, `ProxyManager`": "urllib3_proxy_manager",
}
PYTHON_IGNORES = {"aiohttp": "aiohttp_default", "urllib3": "urllib3_default", "http.client": "http_client"}
SOCKETS = {
    "aiohttp WebSocket, `trust_env=True` and an `http://` URL": ("aiohttp_websocket", "http://hello/ws"),
    "websockets": ("websockets", "ws://hello/ws"),
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with an HTTP service, a gRPC service and a caller that has an upstream to the first."""
    root = tmp_path_factory.mktemp("clients")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply((CLIENTS / "services.yaml").read_text())
        mesh.run("greeter", [sys.executable, str(APPS / "grpc_echo.py")], port="50051:auto", health="tcp", wait=False)
        mesh.echo("hello", wait=False)
        mesh.run("caller", ["sleep", "600"], port="", more=["--upstream", "hello:80"], wait=False)
        shut = ["--upstream", "hello:80", "--proxy-auth", "on"]
        mesh.run("shut", ["sleep", "600"], port="", more=shut, wait=False)
        mesh.wait_healthy("greeter", "hello", "caller", "shut")
        yield mesh
    finally:
        mesh.stop()


@dataclass(frozen=True)
class Caller:
    """What an application of the workload `caller` is told."""

    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def python(self, urls: Mapping[str, str]) -> dict[str, Any]:
        """What Python's clients get at these URLs."""
        words = [f"{client}={url}" for client, url in urls.items()]
        done = self.run(sys.executable, str(CLIENTS / "python_clients.py"), *words)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def upstream(self) -> str:
        """The URL of the upstream."""
        return f"http://{self.environment['WEFT_UPSTREAM_HELLO_80']}/"


@pytest.fixture(scope="module", params=["caller", "shut"])
def caller(mesh: Mesh, request: pytest.FixtureRequest) -> Caller:
    """One whose proxy is open to the host, and one whose proxy wants the secret that is in HTTP_PROXY."""
    directory = mesh.home / "workloads" / "default" / request.param
    state, url = read_state(directory), directory / "proxy.url"
    assert state is not None
    search = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
    return Caller(sidecar_environment(search, state, proxy=url.read_text().strip() if url.exists() else ""))


def test_python_clients(caller: Caller) -> None:
    urls = dict.fromkeys(PYTHON_HEEDS.values(), "http://hello/") | dict(SOCKETS.values())
    for client, answer in caller.python(urls).items():
        assert ("hello:hello" if client in dict(SOCKETS.values()) else '"workload": "hello"') in answer, client
    for client, answer in caller.python(dict.fromkeys(PYTHON_IGNORES.values(), NOBODY)).items():
        assert isinstance(answer, list), f"{client} heeds its proxy: {answer}"
    for client, answer in caller.python(dict.fromkeys(PYTHON_IGNORES.values(), caller.upstream)).items():
        assert '"workload": "hello"' in answer, client


def test_other_clients_that_heed_the_proxy(caller: Caller) -> None:
    for case in (*HEED, *(NODE if node_heeds_proxies() else ())):
        done = caller.run(*case.command, case.url)
        assert case.answer in done.stdout, (case.row, done)


def test_node_passes_by_an_upstream(caller: Caller) -> None:
    for case in NODE:
        assert case.answer in caller.run(*case.command, caller.upstream).stdout, case.row
        assert node_heeds_proxies() or caller.run(*case.command, NOBODY).returncode, case.row


def test_a_wrong_port_is_answered_with_the_right_ones(caller: Caller) -> None:
    done = caller.run("curl", "-sS", "http://hello:8001/")
    assert done.stdout == "weft: hello.default has no such port; it has 80\n"


def test_the_page_has_every_client_that_is_tried() -> None:
    told = dict(re.findall(r"^\| (.+?) \| (yes|no|from .+?) \|", PAGE.read_text(), re.MULTILINE))
    assert {told.get(row) for row in (*PYTHON_HEEDS, *SOCKETS, *(case.row for case in HEED))} == {"yes"}
    assert {told.get(row) for row in PYTHON_IGNORES} == {"no"}
    assert {told.get(case.row) for case in NODE} == {"from 22.21 and 24.5"}
