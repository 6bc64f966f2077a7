"""Traffic goes on when documents are edited without changing what they mean: nothing in a proxy is replaced."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator

import aiohttp
import pytest
import yaml

from support.mesh import APPS, Mesh
from weft.agent.envoy_admin import EnvoyAdmin
from weft.settings.home import Home

MB = 1 << 20
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: socket}
spec: {selector: {app: socket}, ports: [{name: web, appProtocol: kubernetes.io/ws, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: stream}
spec: {selector: {app: stream}, ports: [{name: tcp, port: 7000, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: socket}
spec: {host: socket, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stream}
spec: {host: stream, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 10m}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: PERMISSIVE}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: socket, port: 80}]}]}
"""
EDITS = (
    "# a comment\n\n" + DOCUMENTS.replace("---\n", "---\n# and another\n"),
    yaml.safe_dump_all(yaml.safe_load_all(DOCUMENTS), default_flow_style=False, sort_keys=True),
    DOCUMENTS,
)
PROXIES = ("caller", "socket", "stream", "front")


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A WebSocket server, a server reached by plain TCP, their caller, and a gateway."""
    root = tmp_path_factory.mktemp("moved")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(DOCUMENTS)
        mesh.echo("socket", wait=False)
        mesh.run("stream", [sys.executable, str(APPS / "http_echo.py")], wait=False)
        mesh.echo("caller", more=["--upstream", "stream:7000"], wait=False)
        mesh.gateway("front", "80=auto")
        mesh.wait_healthy(*PROXIES)
        yield mesh
    finally:
        mesh.stop()


async def replaced(mesh: Mesh) -> dict[str, int]:
    """How often each proxy has added, changed or removed a listener or a cluster, or drained one."""
    pattern = "listener_manager.listener_(added|modified|removed|in_place_updated)|total_listeners_draining"
    pattern += "|cluster_manager.cluster_(added|modified|removed)"
    found: dict[str, int] = {}
    for name in PROXIES:
        directory = mesh.home / "workloads" / "default" / name
        stats = await EnvoyAdmin(Home(mesh.home).socket(directory / "admin.sock")).gauges(pattern)
        assert stats
        found |= {f"{name} {stat}": value for stat, value in stats.items()}
    assert len(found) == 8 * len(PROXIES), found
    return found


def places_of_clusters(mesh: Mesh) -> list[list[str]]:
    """Where the documents behind the caller's clusters are written."""
    return [one.get("origins", []) for one in mesh.api("proxies/caller.default/config/clusters")["clusters"]]


async def test_moved_lines_cut_no_connection_and_replace_nothing(moved: Mesh) -> None:
    gateway = moved.workload("front")["gateway"]["ports"][0][1]
    host, port = moved.proxy_of("caller")
    upstream = moved.workload("caller")["upstreams"][0]["listen"]
    download = f"http://socket/download/{50 * MB}"

    async def answer(reader: asyncio.StreamReader) -> bytes:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length))
        return head.split()[1]

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{gateway['host']}:{gateway['port']}/ws") as socket,
        session.get(download, proxy=f"http://{host}:{port}") as slow,
    ):
        reader, writer = await asyncio.open_connection(upstream["host"], upstream["port"])
        writer.write(b"GET /counts HTTP/1.1\r\nHost: stream\r\n\r\n")
        assert await answer(reader) == b"200"  # now the caller has the clusters that it asked for
        size = len(await slow.content.readexactly(MB))
        before = await replaced(moved)
        places = [await asyncio.to_thread(places_of_clusters, moved)]
        for number, edited in enumerate(EDITS):
            await asyncio.to_thread(moved.apply, edited)
            places.append(await asyncio.to_thread(places_of_clusters, moved))
            await socket.send_str(str(number))
            assert await socket.receive_str(timeout=10) == f"socket:{number}"
            writer.write(b"GET /counts HTTP/1.1\r\nHost: stream\r\n\r\n")
            assert await answer(reader) == b"200"
            size += len(await slow.content.readexactly(MB))
        assert await replaced(moved) == before
        assert places[0] == places[3] != places[1] != places[2]
        size += len(await slow.content.read())
        writer.close()
        assert size == 50 * MB
    await asyncio.to_thread(moved.apply, DOCUMENTS.replace("RANDOM", "ROUND_ROBIN"))
    assert await replaced(moved) != before, "these counters would have told"
