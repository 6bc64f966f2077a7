"""gRPC, WebSocket, large bodies and plain TCP (PostgreSQL) through sidecars."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from support.mesh import APPS, Mesh, until

MB = 1 << 20
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: grpc, port: 50051}]}
---
apiVersion: v1
kind: Service
metadata: {name: socket}
spec: {selector: {app: socket}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: postgres, port: 5432}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: sockets}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: sockets}
spec: {parentRefs: [{name: sockets}], rules: [{backendRefs: [{name: socket, port: 80}]}]}
"""


@pytest.fixture(scope="module")
def protocols(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with a gRPC server, a WebSocket server and a caller that has an upstream to PostgreSQL."""
    root = tmp_path_factory.mktemp("protocols")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        greeter = [sys.executable, str(APPS / "grpc_echo.py")]
        mesh.run("greeter", greeter, port="50051:auto", health="tcp", wait=False)
        mesh.echo("socket", wait=False)
        mesh.echo("caller", more=["--upstream", "db:5432"], wait=False)
        mesh.wait_healthy("greeter", "socket", "caller")
        yield mesh
    finally:
        mesh.stop()


def proxy_url(mesh: Mesh) -> str:
    host, port = mesh.proxy_of("caller")
    return f"http://{host}:{port}"


def test_grpc_unary_and_streaming(protocols: Mesh) -> None:
    environment = {**os.environ, "http_proxy": proxy_url(protocols), "no_proxy": "localhost", "no_grpc_proxy": ""}
    words = [sys.executable, str(APPS / "grpc_client.py"), "greeter:50051"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "unary": "greeter:hello",
        "counted": 100,
        "chat": [f"greeter:{number}" for number in range(5)],
        "size": "5",
    }


async def talk(url: str, proxy: str | None) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, proxy=proxy) as socket:
        for number in range(5):
            await socket.send_str(str(number))
            assert (await socket.receive_str(timeout=10)) == f"socket:{number}"
        blob = os.urandom(256 * 1024)
        await socket.send_bytes(blob)
        assert (await socket.receive_bytes(timeout=10)) == blob


async def test_websocket_through_the_sidecars(protocols: Mesh) -> None:
    await talk("http://socket/ws", proxy_url(protocols))


async def test_websocket_through_the_gateway(protocols: Mesh) -> None:
    await asyncio.to_thread(protocols.gateway, "sockets", "80=auto")
    address = protocols.workload("sockets")["gateway"]["ports"][0][1]
    await talk(f"http://{address['host']}:{address['port']}/ws", None)


def peak_memory(pid: int) -> int:
    """Highest resident memory of a process so far, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmHWM")


async def test_100_mb_both_ways_without_buffering(protocols: Mesh) -> None:
    piece = os.urandom(MB)
    expected = hashlib.sha256(piece * 100).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield piece

    envoys = [protocols.state(name)["envoy"]["pid"] for name in ("caller", "socket")]
    before = [peak_memory(pid) for pid in envoys]
    timeout = aiohttp.ClientTimeout(total=200)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.post("http://socket/up", data=body(), proxy=proxy_url(protocols)) as answer:
            got = await answer.json()
            assert (got["size"], got["sha256"]) == (100 * MB, expected)
        size = 0
        async with session.get(f"http://socket/download/{100 * MB}", proxy=proxy_url(protocols)) as answer:
            async for data in answer.content.iter_any():
                size += len(data)
        assert size == 100 * MB
    grown = [peak_memory(pid) - old for pid, old in zip(envoys, before, strict=True)]
    assert max(grown) < 40 * MB, grown


def postgres_binary(name: str) -> str:
    """A program of Debian's PostgreSQL, which are not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")) or [Path(shutil.which(name) or name)]
    return str(found[-1])


def test_postgresql_through_an_upstream_port(protocols: Mesh, tmp_path: Path) -> None:
    data = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    try:
        if user:
            shutil.chown(data, "postgres")
        subprocess.run([*user, postgres_binary("initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"],
                       check=True, capture_output=True, cwd="/")  # fmt: skip
        server = f"exec {postgres_binary('postgres')} -D {data} -p $PORT -k '' -h 127.0.0.1"
        protocols.run("db", [*user, "sh", "-c", server], port="5432:auto", health="tcp")
        upstream = protocols.workload("caller")["upstreams"][0]["listen"]
        query = [
            postgres_binary("psql"), "-h", upstream["host"], "-p", str(upstream["port"]), "-U", "postgres", "-Atc",
            "select sum(n) from generate_series(1, 100000) n",
        ]  # fmt: skip

        def ask() -> str:
            return subprocess.run(query, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

        until("PostgreSQL answers through the mesh", lambda: ask() == "5000050000")
        protocols.processes["db"].stop()
        assert ask() == ""
    finally:
        if "db" in protocols.processes:
            protocols.processes["db"].stop()
        shutil.rmtree(data)
