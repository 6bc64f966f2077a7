"""One mesh for the traffic tests: a client, three versions of an echo, a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http import Client
from support.mesh import Mesh

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: client}
spec: {selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The shared mesh. Tests apply documents and take them back."""
    root = tmp_path_factory.mktemp("world")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        for name, app, version in (
            ("client", "client", "v1"),
            ("echo-v1", "echo", "v1"),
            ("echo-v2", "echo", "v2"),
            ("other", "other", "v1"),
        ):
            mesh.echo(name, app=app, version=version, wait=False)
        mesh.wait_healthy("client", "echo-v1", "echo-v2", "other")
        mesh.gateway("front", "80=auto")
        yield mesh
    finally:
        mesh.stop()


@pytest.fixture
def client(world: Mesh) -> Iterator[Client]:
    """Sends requests the way the client workload's application would."""
    client = Client(world.proxy_of("client"))
    yield client
    client.close()


@pytest.fixture
def front(world: Mesh) -> Iterator[tuple[Client, str]]:
    """A client outside the mesh and the gateway's URL."""
    binding = world.workload("front")["gateway"]["ports"]
    address = binding[0][1]
    client = Client()
    yield client, f"http://{address['host']}:{address['port']}"
    client.close()


@pytest.fixture(scope="session")
def edge(world: Mesh) -> dict[int, tuple[str, int]]:
    """A gateway of the shared mesh for tests that follow pages: where each port is. It serves the Gateway `edge` of the
    Gateway API, and Istio's with the selector of Istio's own."""
    world.gateway("edge", *(f"{port}=auto" for port in (80, 443, 31400)), labels="istio=ingressgateway")
    ports = world.workload("edge")["gateway"]["ports"]
    return {int(port): (where["host"], int(where["port"])) for port, where in ports}


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh of its own for tests that kill things; the control plane is not started yet."""
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        yield mesh
    finally:
        mesh.stop()
